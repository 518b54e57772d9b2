"""Results are whole or as they were; a day's log only grows."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import pytest

from adaptive_sd.errors import ConfigError
from adaptive_sd.offline.research_log import (
    LogEntry,
    check_folder,
    json_bytes,
    publish,
    write_whole,
)


def entry(note: str, day: int = 24) -> LogEntry:
    when = datetime(2026, 11, day, 12, 30)
    return LogEntry(when, {"Models": "a -> b"}, {"Mean quality": "0.5"}, [note], ["more"])


def test_an_entry_has_the_form_of_the_guides_template() -> None:
    assert entry("seen").as_markdown() == (
        "## Experiment log (2026-11-24)\n\n### Settings\n- Models: a -> b\n\n"
        "### Results\n- Mean quality: 0.5\n\n### Observations\n- seen\n\n"
        "### Next experiment\n- more\n"
    )


def test_a_second_run_of_the_day_adds_and_another_topic_or_day_has_its_own_file(
    tmp_path: Path,
) -> None:
    for note, topic, day in (("one", "poc", 24), ("two", "poc", 24), ("x", "other", 24)):
        publish(tmp_path, {}, topic, entry(note, day))
    publish(tmp_path, {}, "poc", entry("later", 25))
    log = (tmp_path / "log" / "2026-11-24-poc.md").read_text()
    assert log == f"{entry('one').as_markdown()}\n{entry('two').as_markdown()}"
    names = sorted(path.name for path in (tmp_path / "log").iterdir())
    assert names == ["2026-11-24-other.md", "2026-11-24-poc.md", "2026-11-25-poc.md"]


def test_a_failed_write_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("old")
    with pytest.raises(TypeError):
        write_whole(tmp_path / "a.json", "not bytes")  # type: ignore[arg-type]
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        write_whole(tmp_path / "folder", b"new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "folder"]
    assert (tmp_path / "a.json").read_text() == "old"
    write_whole(tmp_path / "a.json", b"new")
    assert (tmp_path / "a.json").read_text() == "new"


def test_the_old_file_is_replaced_never_written_into(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("old")
    os.link(tmp_path / "a.json", tmp_path / "reader")
    write_whole(tmp_path / "a.json", b"new")
    assert (tmp_path / "reader").read_text() == "old"


def test_numbers_that_json_has_not_are_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_bytes({"quality": float("nan")})


def test_a_folder_that_cannot_be_used_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="file: cannot be made"):
        check_folder(tmp_path / "file")
    check_folder(tmp_path / "new" / "results")
    assert (tmp_path / "new" / "results" / "log").is_dir()
