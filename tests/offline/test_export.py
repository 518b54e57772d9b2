"""The outcome table says what live answers would have cost."""

from __future__ import annotations

import itertools
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaptive_sd.data.outcomes import read_outcomes, write_outcomes
from adaptive_sd.decision.partial import (
    CHECKPOINTS,
    PARTIAL_STATISTICS,
    WHOLE,
    partial_statistics,
)
from adaptive_sd.engines.alignment import DraftTokens
from adaptive_sd.engines.fake import FakeEngine
from adaptive_sd.errors import DataError, EngineError
from adaptive_sd.judge import cost_of
from adaptive_sd.offline.export import export_recordings
from adaptive_sd.offline.verification import compare
from adaptive_sd.stage import Stage
from adaptive_sd.types import Progress, Sampling
from tests.ladder import RATES, make_recording, make_stages, make_table, make_tasks


def test_costs_are_those_of_live_answers(tmp_path: Path) -> None:
    tasks = make_tasks(6)
    table = make_table(tmp_path, tasks)
    rows = {prompt_id: n for n, prompt_id in enumerate(table.prompt_ids)}
    for k, stage in enumerate(make_stages(tmp_path)):
        for task in tasks:
            live = cost_of(stage.run(task.prompt, Sampling()), RATES[stage.name])
            assert table.cost[rows[task.id], k] == pytest.approx(live)


def test_what_a_later_stage_pays_and_accepts_stands_in_its_row(tmp_path: Path) -> None:
    table = make_table(tmp_path, make_tasks(6))
    cost = table.columns["cost_after_small"].astype(float)
    accepted = table.columns["accepted_after_small"].astype(float)
    assert np.isnan(cost[:, 0]).all() and not np.isnan(cost[:, 1:]).any()
    assert ((accepted[:, 1:] == 0) | (cost[:, 1:] < table.cost[:, 1:])).all()
    assert "cost_after_large" not in table.columns


def test_first_tokens_cost_and_tell_what_a_draft_that_grows_does(tmp_path: Path) -> None:
    """A draft ended at a checkpoint; the live loop would see and pay just that."""
    tasks = make_tasks(12)
    table = make_table(tmp_path, tasks, is_long=True)
    rows = {prompt_id: n for n, prompt_id in enumerate(table.prompt_ids)}
    reached = 0
    for k, stage in enumerate(make_stages(tmp_path, is_long=True)):
        for task, place in itertools.product(tasks, range(WHOLE)):
            seen: list[Progress] = []

            def observe(progress: Progress, at: int = CHECKPOINTS[place], seen: Any = seen) -> bool:
                seen.append(progress)
                return progress.num_tokens < at

            part = stage.run(task.prompt, Sampling(), observer=observe)
            at, n = CHECKPOINTS[place], rows[task.id]
            cost = table.columns.get(f"cost@{at}", np.full(table.cost.shape, np.nan))[n, k]
            if part.finish_reason != "cancelled":
                assert np.isnan(cost)
                continue
            reached += 1
            assert cost == pytest.approx(cost_of(part, RATES[stage.name]))
            statistics = partial_statistics(np.array([seen[-1].token_logprobs]))[0]
            for name, value in zip(PARTIAL_STATISTICS, statistics, strict=True):
                assert table.columns[f"signal_{name}@{at}"][n, k] == pytest.approx(value)
    assert reached > 20


@pytest.mark.parametrize("is_cut", [False, True])
def test_a_part_that_was_recorded_is_the_one_that_would_be_offered(
    tmp_path: Path, is_cut: bool
) -> None:
    """With one vocabulary the same tokens; a draft that was cut has no end of turn."""
    stages = make_stages(tmp_path, is_long=True)
    task = make_tasks(12)[3]
    whole = stages[0].run(task.prompt, Sampling())
    if is_cut:
        whole = replace(whole, finish_reason="length")
    assert whole.num_chosen > 16
    engine = stages[1].engine
    recorded = engine.draft_tokens(replace(whole.offer, ended=True))
    compared = compare(recorded, (1, 2, 3), whole.finish_reason == "length", False)
    for num_tokens in range(1, whole.num_chosen):
        part = stages[0].run(
            task.prompt, Sampling(), observer=lambda p, at=num_tokens: p.num_tokens < at
        )
        found = compared.first(num_tokens, whole.num_chosen)
        assert found.draft == engine.draft_tokens(part.offer)
        assert found.target == compared.target


def test_a_part_in_tokens_of_another_vocabulary_is_as_much_of_the_text() -> None:
    """Twice as many, and an end of turn."""
    draft = DraftTokens((*range(41), -1), (*(0.01 * i for i in range(41)), 0.5))
    for num_tokens in range(1, 21):
        part = compare(draft, (1,), False, False).first(num_tokens, 21).draft
        at = slice(2 * num_tokens)
        assert part == DraftTokens(draft.token_ids[at], draft.sureties[at])


@pytest.mark.parametrize("failing", [{"#0:"}, {"#1:"}, {"#0:", "#1:", "#2:"}])
def test_a_prompt_with_an_error_is_in_the_table_and_left_out_by_its_readers(
    tmp_path: Path, failing: set[str]
) -> None:
    def fail(prompt: str) -> str:
        if any(mark in prompt for mark in failing):
            raise EngineError("broken")
        return "The answer is 1"

    engine = FakeEngine("middle", fail, rates=RATES["middle"])
    stages = make_stages(tmp_path)
    stages[1] = Stage("middle", load=lambda: engine, rates_path=tmp_path / "rates.json")
    make_recording(tmp_path / "r.sqlite", make_tasks(3), stages)
    exported = export_recordings([tmp_path / "r.sqlite"])
    assert exported.table.num_rows == 9 and exported.num_unfinished == 0
    quality = exported.table["quality"].to_pylist()
    assert [k for k, value in enumerate(quality) if value is None] == [
        3 * i + 1 for i in range(3) if f"#{i}:" in failing
    ]
    write_outcomes(exported.table, exported.stages, tmp_path / "t.parquet")
    table = read_outcomes(tmp_path / "t.parquet")
    assert table.num_left_out == len(failing)
    assert table.prompt_ids == tuple(f"s0/{i}" for i in range(3) if f"#{i}:" not in failing)


def test_a_prompt_that_lacks_a_stage_is_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    make_recording(path, make_tasks(4), make_stages(tmp_path))
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DELETE FROM outcome WHERE prompt_id = 's0/1' AND stage_index = 2")
        database.execute("DELETE FROM outcome WHERE prompt_id = 's0/3'")
    exported = export_recordings([path])
    assert exported.num_unfinished == 2
    assert set(exported.table["prompt_id"].to_pylist()) == {"s0/0", "s0/2"}
    assert set(exported.table["dataset"].to_pylist()) == {"sums"}


def test_a_prompt_that_is_in_two_recordings_is_refused(tmp_path: Path) -> None:
    """Also where both are one file, by whatever name."""
    stages = make_stages(tmp_path)
    make_recording(tmp_path / "a.sqlite", make_tasks(2), stages)
    make_recording(tmp_path / "b.sqlite", make_tasks(3), stages)
    (tmp_path / "c.sqlite").symlink_to(tmp_path / "a.sqlite")
    a = tmp_path / "a.sqlite"
    for other in ("a.sqlite", "b.sqlite", "c.sqlite"):
        for paths in (([a, tmp_path / other], []), ([a], [tmp_path / other])):
            with pytest.raises(DataError, match=rf"{other}: prompt 's0/0' is in .*a\.sqlite too"):
                export_recordings(*paths)


def test_a_text_to_fit_on_is_not_tested_on(tmp_path: Path) -> None:
    """By whatever id, and however it is spaced; within one part it may come twice."""
    stages, tasks = make_stages(tmp_path), make_tasks(2)
    same = replace(tasks[1], id="other", prompt=f"{tasks[1].prompt.upper().lower()}  ")
    make_recording(tmp_path / "a.sqlite", tasks, stages)
    make_recording(tmp_path / "b.sqlite", [*make_tasks(2, seed=1), same], stages)
    a, b = tmp_path / "a.sqlite", tmp_path / "b.sqlite"
    with pytest.raises(DataError, match=r"b\.sqlite: prompt 'other' has the text of 's0/1'"):
        export_recordings([a], [b])
    assert export_recordings([a, b]).table.num_rows == 5 * len(stages)


def test_recordings_of_one_ladder_are_joined_and_of_two_refused(tmp_path: Path) -> None:
    stages = make_stages(tmp_path)
    make_recording(tmp_path / "a.sqlite", make_tasks(2, seed=1), stages)
    make_recording(tmp_path / "b.sqlite", make_tasks(3, seed=2), stages)
    make_recording(tmp_path / "c.sqlite", make_tasks(1, seed=3), stages[:2])
    both = export_recordings([tmp_path / "a.sqlite", tmp_path / "b.sqlite"])
    assert both.table.num_rows == 5 * len(stages)
    with pytest.raises(DataError, match="another ladder"):
        export_recordings([tmp_path / "a.sqlite", tmp_path / "c.sqlite"])
