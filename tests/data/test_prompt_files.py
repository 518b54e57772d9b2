"""Prompts of a file are the user's, one by one, and what is none is named by its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adaptive_sd.data.prompt_files import read_prompts
from adaptive_sd.errors import DataError

PROMPTS = ["Why?", "What is\u2028this?", '{"prompt": 1}', "\u00e9t\u00e9"]


def test_both_kinds_of_file_give_the_same_prompts(tmp_path: Path) -> None:
    lines, rows = tmp_path / "p.txt", tmp_path / "p.JSONL"
    lines.write_text("\ufeff" + "\n\n  \n".join(PROMPTS) + "\r\n", encoding="utf-8")
    rows.write_text("\n\n".join(json.dumps({"prompt": p, "answer": 7}) for p in PROMPTS))
    assert read_prompts(lines) == read_prompts(rows) == PROMPTS


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.md", "Why?", r"p.md: the name .* ends in .txt \(one prompt a line\) or .jsonl"),
        ("p.jsonl", '{"prompt": "a"}\nWhy?', "line 2: not a JSON object with a prompt"),
        ("p.jsonl", '\n{"prompt": " "}', "line 2: `prompt` is ' '; it must be text"),
        ("p.jsonl", '{"text": "a"}', "line 1: not a JSON object with a prompt"),
        ("p.txt", b"\xff\xfe\x00", "cannot be read"),
        ("none.txt", None, "cannot be read"),
    ],
)
def test_what_is_no_file_of_prompts_is_refused(
    tmp_path: Path, name: str, content: str | bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError, match=message):
        read_prompts(tmp_path / name)
