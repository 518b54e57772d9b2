"""Ways of prompts through the stages: those of the policy on a table, those that traces tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaptive_sd.artifact import Artifact
from adaptive_sd.cascade import Cascade, Request
from adaptive_sd.decision.rollout import roll_out
from adaptive_sd.errors import DataError
from adaptive_sd.judge import FittedJudge
from adaptive_sd.offline.costs import at_rates
from adaptive_sd.offline.replay.seen import seen_by
from adaptive_sd.offline.sizing.demand import Demand, demand_of_table, demand_of_traces
from adaptive_sd.types import Rates
from tests.ladder import RATES, SKILL, make_stages, make_table, make_tasks

NAMES = list(SKILL)


@pytest.fixture(scope="module")
def answered(artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What the ladder itself does on 40 prompts, in the order of a table: by their names."""
    stages = make_stages(tmp_path_factory.mktemp("stages"))
    cascade = Cascade(stages, FittedJudge(artifact))
    tasks = sorted(make_tasks(40, seed=3), key=lambda task: task.id)
    prompts = [task.prompt for task in tasks]
    return [cascade.answer(prompt, Request(lam=2.0)).to_json() for prompt in prompts]


def test_a_table_tells_what_the_ladder_itself_does(
    artifact: Artifact, answered: list[dict[str, Any]], tmp_path: Path
) -> None:
    """The same prompts recorded and followed, and answered live, go the same ways.

    But for those on an edge, since recorded log-probabilities are rounded. A scripted engine
    verifies other spans than the cost model, so work is compared of first drafts.
    """
    table = make_table(tmp_path, make_tasks(40, seed=3))
    rates = [RATES[name] for name in NAMES]
    told = demand_of_table(table, artifact, rates, 2.0, "t.parquet")
    live = demand_of_traces(answered, NAMES, "s", "traces")
    same = (told.runs == live.runs).all(axis=1)
    assert same.mean() >= 0.95
    first = told.runs.argmax(axis=1)[:, None]
    works = [np.take_along_axis(side.work_s, first, axis=1)[same] for side in (told, live)]
    np.testing.assert_allclose(*works)
    np.testing.assert_array_equal(told.tokens_out[same], live.tokens_out[same])
    assert told.escalation_rate == pytest.approx(live.escalation_rate, abs=0.1)
    assert "40 prompts of t.parquet" in told.source and "40 answers in traces" in live.source


def test_what_ways_cost_is_what_a_replay_pays(artifact: Artifact, tmp_path: Path) -> None:
    table, rates = make_table(tmp_path, make_tasks(40, seed=3)), [RATES[name] for name in NAMES]
    told = demand_of_table(table, artifact, rates, 2.0, "t")
    paid = roll_out(artifact.policy, seen_by(artifact, at_rates(table, rates)), 2.0).cost
    np.testing.assert_allclose(told.cost, paid)
    np.testing.assert_allclose(np.nansum(told.work_s, axis=1), paid)


def test_other_rates_make_other_work_of_the_same_ways(artifact: Artifact, tmp_path: Path) -> None:
    table = make_table(tmp_path, make_tasks(40, seed=3))
    twice = [Rates(2 * RATES[n].prefill_s, 2 * RATES[n].decode_s) for n in NAMES]
    slow, fast = (
        demand_of_table(table, artifact, rates, 2.0, "t")
        for rates in (twice, [RATES[n] for n in NAMES])
    )
    np.testing.assert_array_equal(slow.runs, fast.runs)
    np.testing.assert_allclose(slow.work_s, 2 * fast.work_s)


def traces(answered: list[dict[str, Any]], **changed: Any) -> Demand:
    unit = changed.get("cost_unit", "s")
    return demand_of_traces([a | changed for a in answered], NAMES, unit, "traces")


def test_where_cost_is_dollars_a_stage_takes_the_time_that_it_took(
    answered: list[dict[str, Any]],
) -> None:
    own, dollars = traces(answered), traces(answered, cost_unit="usd")
    np.testing.assert_array_equal(own.runs, dollars.runs)
    np.testing.assert_allclose(own.cost, dollars.cost)
    latencies = [s["latency_s"] for a in answered for s in a["trace"] if s["latency_s"]]
    assert np.nansum(dollars.work_s) == pytest.approx(sum(latencies))


def test_answers_of_other_ladders_and_units_are_left_out(answered: list[dict[str, Any]]) -> None:
    others = [answered[0] | {"cost_unit": "usd"}, answered[1] | {"trace": [{"stage": "other"}]}]
    found = demand_of_traces([*answered, *others], NAMES, "s", "traces")
    assert len(found.work_s) == 40
    with pytest.raises(DataError, match="29 prompts or answers of this ladder, and 30 are needed"):
        demand_of_traces([*answered[:29], *others], NAMES, "s", "traces")
