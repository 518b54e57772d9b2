"""Recording: resumed as if never interrupted, one writer, errors kept apart from wrong answers."""

from __future__ import annotations

import dataclasses
import itertools
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from adaptive_sd.data.graders import Graders
from adaptive_sd.data.grading import Grade
from adaptive_sd.data.tasks import Task
from adaptive_sd.engines.alignment import DraftTokens
from adaptive_sd.engines.fake import FakeEngine
from adaptive_sd.errors import (
    CancelledError,
    ContextOverflowError,
    DataError,
    EngineClosedError,
)
from adaptive_sd.offline.record import record, record_pairs, regrade
from adaptive_sd.offline.recording import Outcome, Recording
from adaptive_sd.rates import differ
from adaptive_sd.stage import Stage
from adaptive_sd.types import Offer, Rates
from tests.ladder import RATES, SKILL, make_engine, make_recording, make_stages, make_tasks


class Interrupted(Exception):
    pass


def outcomes_of(path: Path) -> list[Outcome]:
    with Recording(path, read_only=True) as recording:
        return list(recording.outcomes())


def comparable(outcome: Outcome) -> object:
    assert outcome.draft is not None
    hidden = outcome.draft.hidden
    draft = dataclasses.replace(outcome.draft, hidden=None, prefill_s=0.0, decode_s=0.0)
    return (
        outcome._replace(draft=None),
        dataclasses.asdict(draft),
        None if hidden is None else (hidden.tobytes()),
    )


@pytest.mark.parametrize("after", [0, 1, 7, 11])
def test_an_interrupted_recording_goes_on_without_loss_or_repeat(
    tmp_path: Path, after: int
) -> None:
    tasks = make_tasks(5)
    make_recording(tmp_path / "whole.sqlite", tasks, make_stages(tmp_path))

    def interrupt(done: int, total: int) -> None:
        if done == after:
            raise Interrupted

    with Recording(tmp_path / "cut.sqlite") as recording, pytest.raises(Interrupted):
        record(tasks, make_stages(tmp_path), recording, graders=Graders(), on_progress=interrupt)
    assert len(outcomes_of(tmp_path / "cut.sqlite")) == after
    with Recording(tmp_path / "cut.sqlite", read_only=True) as cut_short:
        assert len(list(cut_short.pairs())) == 3 * (after // 3)  # of every prompt that is whole
    make_recording(tmp_path / "cut.sqlite", tasks, make_stages(tmp_path))
    whole, cut = (outcomes_of(tmp_path / f"{name}.sqlite") for name in ("whole", "cut"))
    assert list(map(comparable, cut)) == list(map(comparable, whole))


def test_a_draft_comes_back_as_it_was_stored(tmp_path: Path) -> None:
    make_recording(tmp_path / "r.sqlite", make_tasks(1), make_stages(tmp_path))
    with Recording(tmp_path / "r.sqlite") as recording:
        first = next(iter(recording.outcomes())).draft
        assert first is not None
        stored = dataclasses.replace(first, token_logprobs=(-0.5, -1.25), num_cached=3)
        task = dataclasses.replace(make_tasks(1, seed=9)[0], id="new")
        recording.put_tasks([task])
        recording.put_outcome(task, 0, "plain", stored, Grade(0.5, "half"))
        found = list(recording.outcomes())[-1]
    assert found.draft is not None and found.quality == 0.5 and found.reason == "half"
    assert found.draft.token_logprobs == (-0.5, -1.25) and found.draft.num_cached == 3
    assert found.draft.hidden is not None and found.draft.hidden.dtype == np.float16


def test_a_stage_that_fails_leaves_an_error_and_the_run_goes_on(tmp_path: Path) -> None:
    def fail(prompt: str) -> str:
        if "#1:" in prompt:
            raise ContextOverflowError("the prompt is too long")
        return "The answer is 1"

    engine = FakeEngine("small", fail, rates=RATES["small"])
    stages = [Stage("small", load=lambda: engine, rates_path=tmp_path / "rates.json")]
    make_recording(tmp_path / "r.sqlite", make_tasks(3), stages)
    found = outcomes_of(tmp_path / "r.sqlite")
    assert [o.draft is None for o in found] == [False, True, False]
    assert found[1].quality is None and "too long" in found[1].reason


def test_where_a_stage_failed_it_is_tried_again(tmp_path: Path) -> None:
    broken = {"#1:", "#2:"}

    def answer(prompt: str) -> str:
        if any(mark in prompt for mark in broken):
            raise ContextOverflowError("the prompt is too long")
        return "The answer is 1"

    engine = FakeEngine("middle", answer, rates=RATES["middle"])
    stages = make_stages(tmp_path)
    stages[1] = Stage("middle", load=lambda: engine, rates_path=tmp_path / "rates.json")
    path, tasks = tmp_path / "r.sqlite", make_tasks(4)
    for failing in ({"#1:", "#2:"}, {"#1:"}, set()):
        broken.clear()
        broken |= failing
        make_recording(path, tasks, stages)
        found = [o.prompt_id for o in outcomes_of(path) if o.draft is None]
        assert found == [f"s0/{n}" for n in (1, 2) if f"#{n}:" in failing]
    assert len(engine.calls) == 4 + 2 + 1
    make_recording(tmp_path / "whole.sqlite", tasks, stages)
    again, whole = outcomes_of(path), outcomes_of(tmp_path / "whole.sqlite")
    assert list(map(comparable, again)) == list(map(comparable, whole))
    with Recording(path) as one, Recording(tmp_path / "whole.sqlite") as other:
        assert set(one.pairs()) == set(other.pairs())


def test_a_prompt_that_is_given_twice_is_asked_once(tmp_path: Path) -> None:
    tasks, path = make_tasks(2), tmp_path / "r.sqlite"
    make_recording(path, [*tasks, tasks[0]], make_stages(tmp_path))
    assert [o.prompt_id for o in outcomes_of(path)] == ["s0/0"] * 3 + ["s0/1"] * 3
    other = dataclasses.replace(tasks[0], prompt="else", id="new")
    with pytest.raises(DataError, match="id 'new' stands for another prompt"):
        make_recording(
            path, [other, dataclasses.replace(other, prompt="more")], make_stages(tmp_path)
        )
    assert len(outcomes_of(path)) == 6


@pytest.mark.parametrize("error", [CancelledError, EngineClosedError])
def test_an_engine_that_was_ended_leaves_no_row(tmp_path: Path, error: type[Exception]) -> None:
    def fail(prompt: str) -> str:
        if "#1:" in prompt:
            raise error("ended")
        return "The answer is 1"

    engine = FakeEngine("small", fail, rates=RATES["small"])
    stages = [Stage("small", load=lambda: engine, rates_path=tmp_path / "rates.json")]
    with pytest.raises(error):
        make_recording(tmp_path / "r.sqlite", make_tasks(3), stages)
    assert [o.prompt_id for o in outcomes_of(tmp_path / "r.sqlite")] == ["s0/0"]


def test_a_second_writer_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    with Recording(path) as first:
        with pytest.raises(DataError, match="another process"):
            Recording(path)
        record(
            *(make_tasks(1), make_stages(tmp_path), first),
            graders=Graders(),
            on_progress=lambda d, t: None,
        )
    with Recording(path) as again:
        assert len(again.done()) == 3


def test_another_ladder_or_another_prompt_of_the_same_id_is_refused(tmp_path: Path) -> None:
    path, tasks, stages = tmp_path / "r.sqlite", make_tasks(1), make_stages(tmp_path)
    make_recording(path, tasks, stages)
    with pytest.raises(DataError, match="another model, engine or style"):
        make_recording(path, tasks, stages[1:])
    with pytest.raises(DataError, match="another prompt"):
        make_recording(path, [dataclasses.replace(tasks[0], prompt="else")], stages)
    assert len(outcomes_of(path)) == 3


def test_what_is_no_recording_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database, but long enough to look at " * 40)
    before = text.read_bytes()
    with pytest.raises(DataError, match="not a recording"):
        Recording(text)
    assert text.read_bytes() == before
    with pytest.raises(DataError, match="no such recording"):
        Recording(tmp_path / "none.sqlite", read_only=True)
    assert not (tmp_path / "none.sqlite").exists()


def test_every_earlier_draft_is_compared_with_every_later_stage(tmp_path: Path) -> None:
    make_recording(tmp_path / "r.sqlite", make_tasks(4), make_stages(tmp_path))
    with Recording(tmp_path / "r.sqlite", read_only=True) as recording:
        pairs = list(recording.pairs())
    assert {(p.drafted, p.target) for p in pairs} == {(0, 1), (0, 2), (1, 2)}
    assert len(pairs) == 12
    assert all(len(p.draft.token_ids) == len(p.draft.sureties) > 1 for p in pairs)


class CountingEngine(FakeEngine):
    """Counts the drafts that it puts into its own tokens."""

    num_drafts = 0

    def draft_tokens(self, draft: Offer) -> DraftTokens:
        self.num_drafts += 1
        return super().draft_tokens(draft)


def test_only_prompts_that_lack_pairs_are_paired_in_the_end(tmp_path: Path) -> None:
    path, tasks = tmp_path / "r.sqlite", make_tasks(6)
    make_recording(path, tasks, make_stages(tmp_path))
    with Recording(path, read_only=True) as recording:
        before = set(recording.pairs())
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DELETE FROM pair WHERE prompt_id = 's0/2' AND target = 2")
    engines = [make_engine(name, CountingEngine) for name in SKILL]
    stages = [Stage(e.info.model, load=lambda e=e: e, rates_path=tmp_path / "r") for e in engines]
    make_recording(path, tasks, stages)
    assert [e.num_drafts for e in engines if isinstance(e, CountingEngine)] == [0, 1, 2]
    with Recording(path, read_only=True) as recording:
        assert set(recording.pairs()) == before and not recording.unpaired()


def test_what_one_prompt_takes_does_not_grow_with_the_recording(tmp_path: Path) -> None:
    """Counted in steps of SQLite's machine."""

    def num_steps(num_tasks: int) -> int:
        path, steps = tmp_path / f"{num_tasks}.sqlite", itertools.count()
        make_recording(path, make_tasks(num_tasks), make_stages(tmp_path))
        with Recording(path) as recording:
            recording._file._database.set_progress_handler(lambda: next(steps) < 0, 1)
            record_pairs(make_stages(tmp_path), recording, "s0/1")
        return next(steps)

    assert num_steps(20) <= num_steps(3) + 5


def test_the_rates_of_the_first_run_are_kept(tmp_path: Path) -> None:
    path, tasks = tmp_path / "r.sqlite", make_tasks(2)
    make_recording(path, tasks[:1], make_stages(tmp_path))
    slower = make_stages(tmp_path / "slower")
    for stage in slower:
        stage.engine._rates = Rates(1.0, 2.0)  # type: ignore[attr-defined]
    make_recording(path, tasks, slower)
    with Recording(path, read_only=True) as recording:
        assert {stage.name: stage.rates for stage in recording.stages()} == RATES
        assert len(recording.done()) == 6


@pytest.mark.parametrize(
    ("rates", "expected"),
    [((0.01, 0.1), False), ((0.0124, 0.08), False), ((0.0126, 0.1), True), ((0.01, 0.07), True)],
)
def test_rates_differ_beyond_the_tolerance_of_a_fit(
    rates: tuple[float, float], expected: bool
) -> None:
    assert differ(Rates(0.01, 0.1), Rates(*rates)) is expected


def test_only_what_other_graders_graded_is_graded_again(tmp_path: Path) -> None:
    path, tasks = tmp_path / "r.sqlite", make_tasks(2)
    make_recording(path, tasks, make_stages(tmp_path))
    before = outcomes_of(path)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE outcome SET quality = 0.5, grader_version = '0' WHERE stage_index")
    shown: list[tuple[int, int]] = []
    for _ in range(2):  # the second finds nothing to do
        with Recording(path) as recording:
            regrade(recording, Graders(), on_progress=lambda *seen: shown.append(seen))
    assert shown == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert list(map(comparable, outcomes_of(path))) == list(map(comparable, before))


class Fixed:
    """A grader that gives one grade."""

    def __init__(self, version: str, quality: float | None, *, works: bool = True) -> None:
        self.version = version
        self._grade = Grade(quality, version, version if works else "")

    def grade(self, task: Task, text: str) -> Grade:
        return self._grade


def versions(path: Path) -> set[tuple[float | None, str]]:
    with Recording(path, read_only=True) as recording:
        return {(g.quality, g.version) for g in recording.graded()}


def test_a_changed_grader_grades_again_and_one_that_cannot_takes_nothing_away(
    tmp_path: Path,
) -> None:
    path, tasks = tmp_path / "r.sqlite", make_tasks(2)
    with Recording(path) as recording:
        for grader, expected in (
            (Fixed("own 1", 0.25), (0.25, "own 1")),
            (Fixed("own 2", 0.5), (0.5, "own 2")),
            (Fixed("own 3", None, works=False), (0.5, "own 2")),
            (Fixed("own 4", None), (None, "own 4")),
            (Fixed("own 5", None, works=False), (None, "")),
            (Fixed("own 5", 1.0), (1.0, "own 5")),
        ):
            graders = Graders(own=grader)
            regrade(recording, graders, on_progress=lambda d, t: None)
            record(
                *(tasks, make_stages(tmp_path), recording),
                graders=graders,
                on_progress=lambda d, t: None,
            )
            assert versions(path) == {expected}


def test_what_a_judge_graded_stays_when_no_judge_is_given(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    tasks = [dataclasses.replace(task, grader="judge") for task in make_tasks(2)]
    make_recording(path, tasks, make_stages(tmp_path))
    assert versions(path) == {(None, "")}
    with Recording(path) as recording:
        assert {"judge" in reason for reason in recording.gaps()} == {True}
        assert sum(recording.gaps().values()) == 6
        graders = Graders(judge=Fixed("judge m", 0.75))
        regrade(recording, graders, on_progress=lambda d, t: None)
    make_recording(path, tasks, make_stages(tmp_path))
    assert versions(path) == {(0.75, "judge m")}
