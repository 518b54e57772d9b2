"""Files of prompts without answers: JSON lines or plain lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from adaptive_sd.errors import DataError


def read_prompts(path: Path) -> list[str]:
    """Of a .txt file every line that is not blank, of a .jsonl file every field `prompt`.

    Raises DataError naming the file, and the line that is no prompt.
    """
    match path.suffix.lower():
        case ".txt":
            return [line.strip() for _, line in _lines(path)]
        case ".jsonl":
            return read_json_prompts(path)
    raise DataError(
        f"{path}: the name of a file of prompts ends in .txt (one prompt a line) or .jsonl (one "
        'JSON object a line, with a field "prompt").'
    )


def read_json_prompts(path: Path) -> list[str]:
    """The field `prompt` of each line, whatever the file's name. Raises DataError."""
    return [_prompt(line, f"{path}, line {number}") for number, line in _lines(path)]


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Those that are not blank, with their numbers."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # U+2028 is no end of a line
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be read ({why}).") from error
    return ((number, line) for number, line in enumerate(lines, start=1) if line.strip())


def _prompt(line: str, where: str) -> str:
    try:
        prompt = json.loads(line)["prompt"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f'{where}: not a JSON object with a prompt, like {{"prompt": "..."}}.'
        ) from error
    if not isinstance(prompt, str) or not prompt.strip():
        raise DataError(f"{where}: `prompt` is {prompt!r}; it must be text.")
    return prompt
