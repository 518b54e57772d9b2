"""Where answers leave their traces: one SQLite file in the home folder, readable by its owner."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from pathlib import Path

from adaptive_sd.errors import ConfigError
from adaptive_sd.trace import Answer

_SCHEMA = """
CREATE TABLE IF NOT EXISTS trace (
  trace_id TEXT PRIMARY KEY, created_s REAL, prompt TEXT, answer TEXT);
"""


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
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            database = sqlite3.connect(self.path, timeout=10)
            try:
                with database:
                    database.executescript(_SCHEMA)
                    database.execute("INSERT INTO trace VALUES (?, ?, ?, ?)", row)
            finally:
                database.close()
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(
                f"{self.path}: cannot store the trace ({error}); set ADAPTIVE_SD_HOME to a folder "
                "that can be written."
            ) from error
