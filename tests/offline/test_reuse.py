"""Answers taken over from earlier recordings: as if they had been asked for again."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from adaptive_sd.data.graders import Graders
from adaptive_sd.data.outcomes import OutcomeTable, read_outcomes, write_outcomes
from adaptive_sd.data.tasks import Task
from adaptive_sd.engines.fake import FakeEngine
from adaptive_sd.offline.export import export_recordings
from adaptive_sd.offline.record import record, regrade
from adaptive_sd.offline.recording import Recording
from adaptive_sd.offline.reuse import take_over
from adaptive_sd.offline.votes import record_votes
from adaptive_sd.stage import Stage
from adaptive_sd.styles import STEP_STYLES
from tests.ladder import make_recording, make_stages, make_tasks
from tests.offline.test_record import comparable, outcomes_of
from tests.voting import make_large, make_voting_stages

CODE = Task("code", "d", "c", "Write a function for exercise 0#1: the sum 1 + 2.", "", "none")


def record_with_help(
    path: Path, tasks: Sequence[Task], stages: Sequence[Stage], *earlier: Path
) -> list[int]:
    """How often each stage's engine was asked."""
    engines = [stage.engine for stage in stages]
    with Recording(path) as recording:
        others = [Recording(other, read_only=True) for other in earlier]
        take_over(tasks, stages, recording, others)
        for other in others:
            other.close()
        record(tasks, stages, recording, graders=Graders(), on_progress=lambda *_: None)
    return [len(engine.calls) for engine in engines if isinstance(engine, FakeEngine)]


def table_of(path: Path) -> OutcomeTable:
    table, stages, _ = export_recordings([path])
    write_outcomes(table, stages, path.with_suffix(".parquet"))
    return read_outcomes(path.with_suffix(".parquet"))


def test_the_answers_of_unchanged_stages_are_taken_over(tmp_path: Path) -> None:
    """A recording made with another's help is the one made without it, but runs less."""
    tasks = make_tasks(6)
    make_recording(tmp_path / "whole.sqlite", tasks, make_stages(tmp_path))
    make_recording(tmp_path / "earlier.sqlite", tasks[1:4], make_stages(tmp_path)[1:])
    path = tmp_path / "new.sqlite"
    asked = record_with_help(path, tasks, make_stages(tmp_path), tmp_path / "earlier.sqlite")
    assert asked == [6, 3, 3]
    new, whole = outcomes_of(path), outcomes_of(tmp_path / "whole.sqlite")
    assert list(map(comparable, new)) == list(map(comparable, whole))


def test_answers_in_another_style_or_to_another_prompt_are_not_taken_over(tmp_path: Path) -> None:
    choice = dataclasses.replace(
        make_tasks(1)[0], prompt="Exercise 0#9: the sum 1 + 1?\nA. 2\nB. 3", id="c"
    )
    tasks = [*make_tasks(2), choice]
    make_recording(tmp_path / "earlier.sqlite", tasks, make_stages(tmp_path))
    changed = dataclasses.replace(tasks[1], prompt="Exercise 0#8: the sum 2 + 2?")
    other = make_stages(tmp_path)
    engine = other[0].engine
    other[0] = Stage(
        *("small",),
        load=lambda: engine,
        rates_path=tmp_path / "rates.json",
        votes=2,
        styles=STEP_STYLES,
    )
    asked = record_with_help(
        tmp_path / "new.sqlite", [tasks[0], changed, choice], other, tmp_path / "earlier.sqlite"
    )
    assert asked == [6, 1, 1]  # two votes on each, and only the changed prompt


def test_answers_to_the_same_text_are_taken_over_and_graded_as_the_new_task_says(
    tmp_path: Path,
) -> None:
    """As when prompts without answers are labelled later."""
    tasks = make_tasks(4)
    bare = [dataclasses.replace(t, id=f"{t.id}x", answer="", grader="none") for t in tasks]
    make_recording(tmp_path / "bare.sqlite", bare, make_stages(tmp_path))
    make_recording(tmp_path / "whole.sqlite", tasks, make_stages(tmp_path))
    path, stages = tmp_path / "new.sqlite", make_stages(tmp_path)
    assert set(record_with_help(path, tasks, stages, tmp_path / "bare.sqlite")) == {0}
    with Recording(path) as recording:
        regrade(recording, Graders(), on_progress=lambda *_: None)
    new, whole = outcomes_of(path), outcomes_of(tmp_path / "whole.sqlite")
    assert list(map(comparable, new)) == list(map(comparable, whole))


def test_grades_come_along_wherever_the_same_question_was_graded(tmp_path: Path) -> None:
    """Also if another task of its text stands before it, or in an earlier file."""
    (task,) = make_tasks(1)
    bare = dataclasses.replace(task, id="0", answer="", grader="none")
    renamed = dataclasses.replace(task, id="renamed", dataset="other", category="other")
    make_recording(tmp_path / "bare.sqlite", [bare], make_stages(tmp_path))
    make_recording(tmp_path / "both.sqlite", [bare, task], make_stages(tmp_path))
    with Recording(tmp_path / "new.sqlite") as recording:
        others = [Recording(tmp_path / n, read_only=True) for n in ("bare.sqlite", "both.sqlite")]
        new = [bare, renamed, dataclasses.replace(task, id="harder", answer="17")]
        assert take_over(new, make_stages(tmp_path), recording, others) == 9
        for other in others:
            other.close()
    graded = {o.prompt_id: o.quality for o in outcomes_of(tmp_path / "new.sqlite")}
    reasons = {o.prompt_id: o.reason for o in outcomes_of(tmp_path / "new.sqlite")}
    assert graded["0"] is None and graded["renamed"] in (0, 1) and graded["harder"] is None
    assert "not graded since" in reasons["harder"] and "not graded" not in reasons["renamed"]


def test_a_voting_ladder_takes_over_what_it_answered_itself(tmp_path: Path) -> None:
    tasks = [*make_tasks(5), CODE]
    make_recording(tmp_path / "whole.sqlite", tasks, make_voting_stages(tmp_path))
    path, stages = tmp_path / "new.sqlite", make_voting_stages(tmp_path)
    assert set(record_with_help(path, tasks, stages, tmp_path / "whole.sqlite")) == {0}
    new, whole = outcomes_of(path), outcomes_of(tmp_path / "whole.sqlite")
    assert list(map(comparable, new)) == list(map(comparable, whole))
    assert [o.num_votes for o in new[-4:]] == [1] * 4  # code is written once
    assert [o.num_votes for o in new[:4]] == [1, 1, 2, 5]


def test_votes_recorded_one_by_one_elect_as_the_stages_would(tmp_path: Path) -> None:
    """Ended as early; and a sampled answer is never taken for a plain one."""
    tasks = make_tasks(12)
    make_recording(tmp_path / "whole.sqlite", tasks, make_voting_stages(tmp_path))
    single = Stage("large", load=make_large, rates_path=tmp_path / "r.json", styles=STEP_STYLES)
    with Recording(tmp_path / "votes.sqlite") as votes:
        record_votes(tasks, single, 6, votes, graders=Graders(), on_progress=lambda *_: None)
    path, stages = tmp_path / "new.sqlite", make_voting_stages(tmp_path)
    asked = record_with_help(path, tasks, stages, tmp_path / "votes.sqlite")
    assert asked == [12, 12, 12, 12]  # the small stage, and the plain one of the shared engine
    whole, new = table_of(tmp_path / "whole.sqlite"), table_of(path)
    for name in whole.columns.keys() - {"latency_s", "prefill_s", "decode_s"}:
        ours, theirs = (_plainly(table.columns[name]) for table in (new, whole))
        assert ours == theirs, name
    np.testing.assert_allclose(new.cost, whole.cost)
    np.testing.assert_array_equal(new.quality, whole.quality)


def _plainly(column: np.ndarray) -> list[str]:
    """Lists, numbers and texts as they print."""
    return [str(np.asarray(value).tolist()) for value in column.flat]


@pytest.mark.parametrize("count", [1, 4])
def test_too_few_recorded_votes_elect_nobody(tmp_path: Path, count: int) -> None:
    tasks = make_tasks(3)
    single = Stage("large", load=make_large, rates_path=tmp_path / "r.json", styles=STEP_STYLES)
    with Recording(tmp_path / "votes.sqlite") as votes:
        record_votes(tasks, single, count, votes, graders=Graders(), on_progress=lambda *_: None)
    stages = make_voting_stages(tmp_path)
    with (
        Recording(tmp_path / "new.sqlite") as recording,
        Recording(tmp_path / "votes.sqlite", read_only=True) as votes,
    ):
        take_over(tasks, stages, recording, [votes])
        assert {index for _, index in recording.done()} == ({2} if count == 4 else set())
