"""Where answers leave their traces: one SQLite file in the home folder, readable by its owner."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adaptive_sd.trace import Answer
from adaptive_sd.trace_file import open_traces


class TraceStore:
    """Appends one row an answer; the prompt's text is kept only on request."""

    def __init__(self, path: Path, *, keep_prompts: bool = False) -> None:
        self.path = path
        self._keep_prompts = keep_prompts

    def append(self, prompt: str, answer: Answer) -> None:
        """Raises ConfigError when the file cannot be written."""
        document = answer.to_json()
        if not self._keep_prompts:
            document["text"] = None  # an answer tells as much as its prompt
        row = (
            answer.trace_id,
            time.time(),
            prompt if self._keep_prompts else None,
            json.dumps(document),
        )
        with open_traces(self.path) as database:
            database.execute("INSERT INTO trace VALUES (?, ?, ?, ?)", row)


def recorded_answers(path: Path) -> Iterator[dict[str, Any]]:
    """The documents of all answers, oldest first. Raises ConfigError where it cannot be read."""
    with open_traces(path) as database:
        for (document,) in database.execute("SELECT answer FROM trace ORDER BY created_s"):
            yield json.loads(document)
