"""The outcome table says what live answers would have cost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adaptive_sd.engines.fake import FakeEngine
from adaptive_sd.errors import DataError, EngineError
from adaptive_sd.judge import cost_of
from adaptive_sd.offline.export import export_recordings
from adaptive_sd.stage import Stage
from adaptive_sd.types import Sampling
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
    assert np.isnan(table.columns["cost_after_large"].astype(float)).all()


def test_a_prompt_with_an_error_is_left_out(tmp_path: Path) -> None:
    def fail(prompt: str) -> str:
        if "#1:" in prompt:
            raise EngineError("broken")
        return "The answer is 1"

    engine = FakeEngine("small", fail, rates=RATES["small"])
    stages = [Stage("small", load=lambda: engine, rates_path=tmp_path / "rates.json")]
    make_recording(tmp_path / "r.sqlite", make_tasks(3), stages)
    table, _ = export_recordings([tmp_path / "r.sqlite"])
    assert table["prompt_id"].to_pylist() == ["s0/0", "s0/2"]


def test_recordings_of_one_ladder_are_joined_and_of_two_refused(tmp_path: Path) -> None:
    stages = make_stages(tmp_path)
    make_recording(tmp_path / "a.sqlite", make_tasks(2, seed=1), stages)
    make_recording(tmp_path / "b.sqlite", make_tasks(3, seed=2), stages)
    make_recording(tmp_path / "c.sqlite", make_tasks(1, seed=3), stages[:2])
    both, _ = export_recordings([tmp_path / "a.sqlite", tmp_path / "b.sqlite"])
    assert both.num_rows == 5 * len(stages)
    with pytest.raises(DataError, match="another ladder"):
        export_recordings([tmp_path / "a.sqlite", tmp_path / "c.sqlite"])
