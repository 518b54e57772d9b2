"""Votes: recorded once, resumed exactly, any first few of them counted later."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from adaptive_sd.data.graders import Graders
from adaptive_sd.data.outcomes import OutcomeTable, read_outcomes, write_outcomes
from adaptive_sd.data.tasks import Task
from adaptive_sd.engines.fake import FakeEngine
from adaptive_sd.errors import DataError
from adaptive_sd.offline.export import export_recordings
from adaptive_sd.offline.recording import Recording
from adaptive_sd.offline.studies.vote import count_votes
from adaptive_sd.offline.votes import record_votes
from adaptive_sd.stage import Stage
from adaptive_sd.styles import STEP_STYLES
from adaptive_sd.types import Rates
from tests.ladder import make_tasks

RATES = Rates(0.5, 1.0, ((4, 2.0), (8, 3.0)))
ANSWERS = ("The answer is 7", "The answer is 8 or so", "The answer is 7", "none", "It is 8")


def script(prompt: str) -> str:
    return ANSWERS[int(prompt.rpartition(" vote ")[2]) % len(ANSWERS)]


def make_stage(folder: Path) -> Stage:
    engine = FakeEngine("top", script, rates=RATES)
    return Stage("top", load=lambda: engine, rates_path=folder / "r.json", styles=STEP_STYLES)


def vote(folder: Path, tasks: list[Task], count: int = 5) -> OutcomeTable:
    with Recording(folder / "votes.sqlite") as recording:
        record_votes(
            tasks,
            make_stage(folder),
            count,
            recording,
            graders=Graders(),
            on_progress=lambda *_: None,
        )
    table, stages, _ = export_recordings([folder / "votes.sqlite"])
    write_outcomes(table, stages, folder / "votes.parquet")
    return read_outcomes(folder / "votes.parquet")


def test_any_first_few_votes_are_counted_from_one_recording(tmp_path: Path) -> None:
    tasks = [Task("a", "d", "c", "What is the sum 3 + 4?", "7", "number")]
    table = vote(tmp_path, tasks)
    assert [stage.name for stage in table.stages] == [f"top#{i}" for i in range(1, 6)]
    assert [count_votes(table, n).quality[0] for n in range(1, 6)] == [1, 1, 1, 1, 1]
    assert count_votes(table, 4).agreement[0] == 0.5
    # words and the end of each answer: 5, 7, 5, 2 passes of one vote
    read = 0.5 * int(table.columns["tokens_in"][0, 0])
    assert count_votes(table, 1).cost[0] == pytest.approx(read + 5 * 1.0)
    three = 5 * RATES.pass_s(3) + 2 * RATES.pass_s(1)
    assert count_votes(table, 3).cost[0] == pytest.approx(read + three)
    for count in (0, 6):
        with pytest.raises(DataError, match="votes"):
            count_votes(table, count)


def test_an_interrupted_vote_is_completed_without_repeat(tmp_path: Path) -> None:
    tasks = make_tasks(4)
    whole = vote(tmp_path, tasks)
    other = tmp_path / "other"
    other.mkdir()
    vote(other, tasks[:2])
    with closing(sqlite3.connect(other / "votes.sqlite")) as database, database:
        database.execute("DELETE FROM outcome WHERE stage_index = 3")
    again = vote(other, tasks)
    assert again.prompt_ids == whole.prompt_ids
    assert np.array_equal(again.columns["answer"], whole.columns["answer"])


def test_a_prompt_that_is_given_twice_is_voted_on_once(tmp_path: Path) -> None:
    tasks = make_tasks(2)
    assert vote(tmp_path, [*tasks, *tasks]).prompt_ids == ("s0/0", "s0/1")


def test_prompts_that_are_not_answered_in_steps_are_left_out(tmp_path: Path) -> None:
    story = Task("s", "d", "c", "Describe the sea.", "", "none")
    assert vote(tmp_path, [*make_tasks(2), story]).prompt_ids == ("s0/0", "s0/1")
    with pytest.raises(DataError, match="steps"):
        vote(tmp_path, [story])
