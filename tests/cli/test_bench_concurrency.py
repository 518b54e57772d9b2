"""`adaptive-sd bench concurrency` on the tiny model; no time is asserted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adaptive_sd.cli import run


def bench(path: Path, requests: int, *options: str) -> int:
    stage = ["--stage", str(path), "--requests", str(requests), "--max-tokens", "5"]
    return run(["bench", "concurrency", *stage, *options])


def test_json_is_one_document(tiny_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(tiny_path, 3, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["num_requests"], document["max_tokens"]) == (3, 5)
    assert document["ratio"]["median"] > 0 and 0 <= document["equal_share"] <= 1
    assert document["draft_ratio"] is None


def test_text_says_what_batching_gains(tiny_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(tiny_path, 2, "--drafts") == 0
    out = capsys.readouterr().out
    assert "2 requests at once:" in out and "of the answers equal" in out
    assert "with a draft each, over without:" in out


def test_more_requests_than_slots_can_be_is_one_line(
    tiny_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(tiny_path, 1000) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "slots is 1000; it must be 1 to" in line
