"""Files of prompts without answers: JSON lines or plain lines."""

from __future__ import annotations

import json
from pathlib import Path

from adaptive_sd.data.lines import numbered_lines
from adaptive_sd.errors import DataError


def read_prompts(path: Path) -> list[str]:
    """Of a .txt file every line that is not blank, of a .jsonl file every field `prompt`.

    Raises DataError naming the file, and the line that is no prompt.
    """
    match path.suffix.lower():
        case ".txt":
            return [line.strip() for _, line in numbered_lines(path)]
        case ".jsonl":
            return read_json_prompts(path)
    raise DataError(
        f"{path}: the name of a file of prompts ends in .txt (one prompt a line) or .jsonl (one "
        'JSON object a line, with a field "prompt").'
    )


def read_json_prompts(path: Path) -> list[str]:
    """The field `prompt` of each line, whatever the file's name. Raises DataError."""
    return [_prompt(line, f"{path}, line {number}") for number, line in numbered_lines(path)]


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
