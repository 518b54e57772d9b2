"""Killed at any moment, a recording goes on as if nothing had happened."""

from __future__ import annotations

import dataclasses
import multiprocessing
import random
import signal
import sqlite3
import time
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from adaptive_sd.data.graders import Graders
from adaptive_sd.errors import DataError
from adaptive_sd.offline.export import export_recordings
from adaptive_sd.offline.record import record, regrade, warm_up
from adaptive_sd.offline.recording import Recording
from tests.caching import make_caching_stages
from tests.ladder import make_recording, make_stages, make_tasks

NUM_KILLS = 50
NUM_TASKS = 120
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload([__name__])


def record_in_child(path: Path, report: Connection, most: int) -> None:
    """Record as the command does, a word to the parent before each answer; wait after `most`."""
    stages = make_caching_stages(path.parent)
    told: list[int] = []

    def tell(done: int, total: int) -> None:
        told.append(done)
        report.send(done)
        if len(told) > most:
            time.sleep(3600)

    with Recording(path) as recording:
        regrade(recording, Graders(), on_progress=lambda done, total: None)
        warm_up(make_tasks(NUM_TASKS), stages, recording)
        record(
            make_tasks(NUM_TASKS),
            stages,
            recording,
            graders=Graders(),
            on_progress=tell,
        )


def start(path: Path, most: int):  # type: ignore[no-untyped-def]
    reading, writing = processes.Pipe(duplex=False)
    child = processes.Process(target=record_in_child, args=(path, writing, most))
    child.start()
    writing.close()
    return child, reading


def contents(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Everything that was stored, without measured seconds and what happened to be cached."""
    with closing(sqlite3.connect(path)) as database:
        columns = "prompt_id, stage_index, style, text, token_ids, token_logprobs, hidden, "
        columns += "finish_reason, tokens_in, quality, grade_reason, grader_version, error"
        return {
            "integrity": database.execute("PRAGMA integrity_check").fetchall(),
            "outcome": sorted(database.execute(f"SELECT {columns} FROM outcome")),
            "pair": sorted(database.execute("SELECT * FROM pair")),
            "prompt": sorted(database.execute("SELECT * FROM prompt")),
            "stage": sorted(database.execute("SELECT * FROM stage")),
        }


def test_after_fifty_kills_every_answer_is_there_exactly_once(tmp_path: Path) -> None:
    rng = random.Random(5)
    path, whole = tmp_path / "killed.sqlite", tmp_path / "whole.sqlite"
    num_rows = []
    for _ in range(NUM_KILLS):
        num_words = rng.choice([0, 1, 1, 2, 3])
        child, reading = start(path, most=num_words + 3)
        for _ in range(num_words):
            reading.recv()
        time.sleep(rng.uniform(0, 0.004))
        child.kill()
        child.join()
        reading.close()
        assert child.exitcode == -signal.SIGKILL
        if path.exists():
            with closing(sqlite3.connect(path)) as database:
                tables = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
                answers = "SELECT count(*) FROM outcome"
                num_rows.append(database.execute(answers).fetchone()[0] if tables else 0)
    assert num_rows == sorted(num_rows) and 0 < num_rows[-1] < 3 * NUM_TASKS
    make_recording(path, make_tasks(NUM_TASKS), make_caching_stages(tmp_path))
    make_recording(whole, make_tasks(NUM_TASKS), make_caching_stages(tmp_path))
    found = contents(path)
    assert found == contents(whole)
    killed, uncut = (export_recordings([p]).table for p in (path, whole))
    for column in ("cost", "num_cached", "cost_after_small", "cost_after_middle"):
        assert killed[column] == uncut[column]
    assert found["integrity"] == [("ok",)] and len(found["outcome"]) == 3 * NUM_TASKS


@pytest.mark.parametrize("gone", ["last", "all"])
def test_a_kill_before_the_pairs_are_stored_loses_none(tmp_path: Path, gone: str) -> None:
    path = tmp_path / "r.sqlite"
    make_recording(path, make_tasks(5), make_stages(tmp_path))
    before = contents(path)
    with closing(sqlite3.connect(path)) as database, database:
        some = "WHERE prompt_id = 's0/4'" if gone == "last" else ""
        database.execute(f"DELETE FROM pair {some}")
    make_recording(path, make_tasks(5), make_stages(tmp_path))
    assert contents(path) == before


def test_another_process_is_refused_while_one_records(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    child, reading = start(path, most=1)
    try:
        reading.recv()
        with pytest.raises(DataError, match="another process is recording"):
            Recording(path)
        with Recording(path, read_only=True) as recording:
            assert len(recording.stages()) == 3
    finally:
        child.kill()
        child.join()
        reading.close()
    with Recording(path) as recording:
        assert dataclasses.astuple(recording.tasks()[0]) == dataclasses.astuple(make_tasks(1)[0])
