"""Traces: one row an answer, private by default."""

from __future__ import annotations

import json
import os
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from adaptive_sd.errors import ConfigError
from adaptive_sd.trace_store import TraceStore
from tests.test_streaming import ANSWER


def rows(path: Path) -> list[tuple[str, float, str | None, str]]:
    database = sqlite3.connect(path)
    try:
        return database.execute("SELECT * FROM trace").fetchall()
    finally:
        database.close()


def test_a_row_an_answer_without_prompt_or_text(tmp_path: Path) -> None:
    store = TraceStore(tmp_path / "home" / "traces.sqlite")
    store.append("my secret", ANSWER)
    store.append("my secret", replace(ANSWER, trace_id="u"))
    assert [row[0] for row in rows(store.path)] == ["t", "u"]
    assert "secret" not in store.path.read_bytes().decode("latin-1")
    assert json.loads(rows(store.path)[0][3])["text"] is None
    assert os.stat(store.path).st_mode & 0o777 == 0o600


def test_prompt_and_text_on_request(tmp_path: Path) -> None:
    store = TraceStore(tmp_path / "traces.sqlite", keep_prompts=True)
    store.append("kept", ANSWER)
    [(_, _, prompt, document)] = rows(store.path)
    assert (prompt, json.loads(document)["text"]) == ("kept", "a b")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="ADAPTIVE_SD_HOME"):
        TraceStore(tmp_path / "file" / "traces.sqlite").append("p", ANSWER)
