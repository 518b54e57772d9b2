"""Costs are those of a warm stage, however often a recording was interrupted and in what order."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from adaptive_sd.data.graders import Graders
from adaptive_sd.data.outcomes import OutcomeTable, read_outcomes, write_outcomes
from adaptive_sd.data.tasks import Task
from adaptive_sd.forms import Form, detect_form
from adaptive_sd.judge import cost_of
from adaptive_sd.offline.costs import at_rates
from adaptive_sd.offline.export import export_recordings
from adaptive_sd.offline.record import record, warm_up
from adaptive_sd.offline.recording import Recording
from adaptive_sd.types import Rates, Sampling
from tests.caching import make_caching_stages
from tests.ladder import RATES, make_tasks

NUM_TASKS = 12
COLUMNS = ("num_cached", "cost", "cost_after_small", "cost_after_middle")


class Interrupted(Exception):
    pass


def make_passages() -> list[Task]:
    """Of the first four each two share a passage; the others have none in common."""
    tasks = make_tasks(NUM_TASKS)
    passages = [
        f"Part{n // 2 if n < 4 else n} {'of a long passage ' * 5}" for n in range(NUM_TASKS)
    ]
    tasks = [replace(t, prompt=p + t.prompt) for t, p in zip(tasks, passages, strict=True)]
    assert {detect_form(task.prompt) for task in tasks} == {Form.NUMBER}
    return tasks


def record_warm(path: Path, tasks: Sequence[Task], num_answers: int | None = None) -> None:
    """As the command does, until so many answers are there."""
    stages = make_caching_stages(path.parent)

    def interrupt(done: int, total: int) -> None:
        if done == num_answers:
            raise Interrupted

    with Recording(path) as recording:
        warm_up(tasks, stages, recording)
        record(tasks, stages, recording, graders=Graders(), on_progress=interrupt)


def exported(*paths: Path) -> dict[tuple[str, int], tuple[float, ...]]:
    """What COLUMNS say of each prompt and stage."""
    rows = export_recordings(paths).table.to_pylist()
    return {(r["prompt_id"], r["stage_index"]): tuple(r[c] for c in COLUMNS) for r in rows}


def read_table(path: Path) -> OutcomeTable:
    table, stages, _ = export_recordings([path])
    write_outcomes(table, stages, path.with_suffix(".parquet"))
    return read_outcomes(path.with_suffix(".parquet"))


def raw_counts(path: Path) -> list[tuple[str, int, str, int]]:
    with Recording(path, read_only=True) as recording:
        return sorted(recording.cached())


@pytest.mark.parametrize("seed", range(3))
def test_neither_interruptions_nor_the_order_of_prompts_change_a_cost(
    tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    tasks, cut = make_passages(), tmp_path / "cut.sqlite"
    record_warm(tmp_path / "whole.sqlite", tasks)
    shuffled = rng.sample(tasks, NUM_TASKS)
    for num_answers in sorted(rng.sample(range(1, 3 * NUM_TASKS), 6)):
        with pytest.raises(Interrupted):
            record_warm(cut, shuffled, num_answers)
    record_warm(cut, shuffled)
    assert raw_counts(cut) != raw_counts(tmp_path / "whole.sqlite")
    assert exported(cut) == exported(tmp_path / "whole.sqlite")
    for name, some in (("a", shuffled[:5]), ("b", shuffled[5:])):
        record_warm(tmp_path / f"{name}.sqlite", some)
    parts = exported(tmp_path / "a.sqlite", tmp_path / "b.sqlite")
    assert parts == exported(tmp_path / "whole.sqlite")


def test_a_recording_whose_first_prompts_were_cold_costs_the_same(tmp_path: Path) -> None:
    tasks = make_passages()
    record_warm(tmp_path / "warm.sqlite", tasks)
    stages = make_caching_stages(tmp_path)
    with Recording(tmp_path / "cold.sqlite") as recording:
        record(tasks, stages, recording, graders=Graders(), on_progress=lambda *_: None)
    assert exported(tmp_path / "cold.sqlite") == exported(tmp_path / "warm.sqlite")


def test_a_cost_is_that_of_a_stage_that_has_read_its_worked_examples_alone(tmp_path: Path) -> None:
    tasks = make_passages()
    record_warm(tmp_path / "r.sqlite", tasks)
    table = read_table(tmp_path / "r.sqlite")
    for n, task in enumerate(tasks):
        for k, stage in enumerate(make_caching_stages(tmp_path)):
            stage.warm_up()
            live = stage.run(task.prompt, Sampling())
            assert 0 < live.num_cached == table.columns["num_cached"][n, k]
            assert table.cost[n, k] == pytest.approx(cost_of(live, RATES[stage.name]))


def test_other_rates_find_the_same_prefix(tmp_path: Path) -> None:
    record_warm(tmp_path / "r.sqlite", make_passages())
    table = read_table(tmp_path / "r.sqlite")
    twice = [Rates(2 * r.prefill_s, 2 * r.decode_s) for r in RATES.values()]
    assert at_rates(table, twice).cost == pytest.approx(2 * table.cost)


def test_a_finished_recording_is_not_warmed_up(tmp_path: Path) -> None:
    tasks, path = make_passages(), tmp_path / "r.sqlite"
    record_warm(path, tasks)
    stages = make_caching_stages(tmp_path)
    with Recording(path) as recording:
        warm_up(tasks, stages, recording)
    assert not any(stage.engine.calls for stage in stages)  # type: ignore[attr-defined]
