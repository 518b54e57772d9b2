"""The file of a recording: whatever it is or has become, one line, and nothing is changed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adaptive_sd.cli import run
from adaptive_sd.errors import DataError
from adaptive_sd.offline.export import export_recordings
from adaptive_sd.offline.recording import Recording
from adaptive_sd.offline.recording_file import SCHEMA_VERSION
from tests.ladder import make_recording, make_stages, make_tasks

damaged = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a recording of forty prompts."""
    folder = tmp_path_factory.mktemp("whole")
    make_recording(folder / "r.sqlite", make_tasks(40), make_stages(folder))
    return (folder / "r.sqlite").read_bytes()


def read_all(path: Path) -> None:
    """What reports, exports and later runs of `record` read."""
    with Recording(path, read_only=True) as recording:
        recording.stages()
        recording.done()
        recording.graded()
        recording.gaps()
    export_recordings([path])


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        for statement in statements:
            database.execute(statement)


FOREIGN = {
    "a table": ["CREATE TABLE note (text TEXT)"],
    "of our version": ["CREATE TABLE stage (x)", "PRAGMA user_version=1"],
    "with a log": ["PRAGMA journal_mode=WAL", "CREATE TABLE note (text TEXT)"],
    "a version": ["PRAGMA user_version=7"],
    "an id": ["PRAGMA application_id=7"],
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_database_of_another_program_is_refused_and_not_changed(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "theirs.sqlite"
    execute(path, *FOREIGN[kind])
    before = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(DataError, match="not a recording"):
            Recording(path, read_only=read_only)
    assert run(["record", "gsm8k-subset", "--limit", "1", "--out", str(path)]) == 1
    err = capsys.readouterr().err
    assert "not a recording" in err and err.count("\n") == 1
    assert path.read_bytes() == before
    assert not (tmp_path / "theirs.sqlite.lock").exists()


def test_a_recording_of_another_version_is_refused_and_not_changed(
    tmp_path: Path, whole: bytes
) -> None:
    path = tmp_path / "newer.sqlite"
    path.write_bytes(whole)
    execute(path, "PRAGMA user_version=99")
    before = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(DataError, match=f"version 99, this program reads {SCHEMA_VERSION}"):
            Recording(path, read_only=read_only)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["a#b", "a?mode=memory", "a%23b", "a b", "\u00fc", ":memory:"])
def test_a_file_may_have_any_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.sqlite"
    make_recording(path, make_tasks(1), make_stages(tmp_path))
    assert path.exists()
    with Recording(path, read_only=True) as recording:
        assert len(recording.done()) == 3
    assert {p.name.removeprefix(path.name) for p in tmp_path.iterdir()} <= {
        *("", ".lock", "-wal", "-shm", "rates.json")
    }


def test_an_empty_file_becomes_a_recording_but_is_none(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    path.touch()
    with pytest.raises(DataError, match="no such recording"):
        Recording(path, read_only=True)
    assert path.read_bytes() == b""
    make_recording(path, make_tasks(1), make_stages(tmp_path))
    read_all(path)


def test_a_recording_damaged_in_the_middle_is_one_line_and_left_as_it_is(
    tmp_path: Path, whole: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "r.sqlite", tmp_path / "t.parquet"
    for start in range(4096, len(whole), 8 * 4096):
        path.write_bytes(whole[:start] + b"\xaa" * 4096 + whole[start + 4096 :])
        before = path.read_bytes()
        assert run(["export", str(path), "--out", str(out)]) == 1
        assert run(["record", "gsm8k-subset", "--limit", "1", "--out", str(path)]) == 1
        err = capsys.readouterr().err
        assert err.startswith("error: ") and err.count("\n") == 2 and "damaged" in err
        assert path.read_bytes() == before and not out.exists()


@damaged
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_any_damage_is_a_recording_or_one_error(
    tmp_path: Path, whole: bytes, changes: list[tuple[float, int]]
) -> None:
    raw = bytearray(whole)
    for place, byte in changes:
        raw[round(place * (len(raw) - 1))] = byte
    path = tmp_path / "r.sqlite"
    path.write_bytes(raw)
    try:
        read_all(path)
    except DataError as error:
        assert len(str(error).splitlines()) == 1


def test_a_table_whose_name_is_no_text_is_one_error(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "r.sqlite"
    path.write_bytes(whole.replace(b"tableprompt", b"table\x80rompt"))
    with pytest.raises(DataError, match="damaged"):
        read_all(path)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE outcome SET token_ids = 'text'",
        "UPDATE outcome SET token_logprobs = x'001122'",
        "UPDATE outcome SET tokens_in = 'many'",
        "UPDATE outcome SET decode_s = NULL",
        "UPDATE outcome SET text = x'ff'",
        "UPDATE outcome SET finish_reason = 'stopp'",
        "UPDATE outcome SET prompt_id = 'else'",
        "UPDATE outcome SET stage_index = 9 WHERE stage_index = 2",
        "UPDATE prompt SET task = '{}'",
        "UPDATE prompt SET task = 'x'",
        "UPDATE stage SET rates = '5'",
        "UPDATE stage SET info = '[]'",
        "UPDATE pair SET sureties = token_ids",
        "UPDATE pair SET prompt_id = 'else'",
        "DROP TABLE pair",
    ],
)
def test_values_that_record_does_not_write_are_one_error(
    tmp_path: Path, whole: bytes, change: str
) -> None:
    path = tmp_path / "r.sqlite"
    path.write_bytes(whole)
    execute(path, change.replace("prompt_id = 'else'", "prompt_id = rowid || 'else'"))
    with pytest.raises(DataError, match="not a recording"):
        read_all(path)


BACK_TO_SECOND = (
    "DROP TABLE vote",
    "ALTER TABLE stage DROP COLUMN votes",
    "PRAGMA user_version=2",
)
BACK_TO_FIRST = (
    *BACK_TO_SECOND,
    "DROP TABLE pair",
    "CREATE TABLE pair (prompt_id, drafted, target, num_drafted, num_agreed)",
    "INSERT INTO pair SELECT prompt_id, 0, 1, 3, 2 FROM outcome",
    "PRAGMA user_version=1",
)


@pytest.mark.parametrize("statements", [BACK_TO_FIRST, BACK_TO_SECOND])
def test_a_recording_of_an_older_version_is_brought_up_to_date_by_the_next_run(
    tmp_path: Path, statements: tuple[str, ...]
) -> None:
    path, tasks = tmp_path / "r.sqlite", make_tasks(2)
    make_recording(path, tasks, make_stages(tmp_path))
    with Recording(path, read_only=True) as recording:
        pairs, stages = list(recording.pairs()), recording.stages()
    execute(path, *statements)
    with pytest.raises(DataError, match="run `adaptive-sd record` on it once more"):
        Recording(path, read_only=True)
    make_recording(path, tasks, make_stages(tmp_path))
    with Recording(path, read_only=True) as recording:
        assert list(recording.pairs()) == pairs and recording.stages() == stages
        assert len(list(recording.outcomes())) == 6
