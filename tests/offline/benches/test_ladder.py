"""The ladder against its largest stage on the scripted ladder; intervals that mean something."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.artifact import Artifact
from adaptive_sd.cascade import Cascade, Request
from adaptive_sd.engines.fake import FakeEngine
from adaptive_sd.judge import FittedJudge
from adaptive_sd.offline.benches.ladder import BLOCK, compare
from adaptive_sd.offline.bootstrap import paired_difference, ratio_of_means
from tests.ladder import is_right, make_stages, make_tasks


@pytest.fixture
def cascade(artifact: Artifact, tmp_path: Path) -> Cascade:
    return Cascade(make_stages(tmp_path), FittedJudge(artifact))


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_both_sides_are_what_they_are_alone(cascade: Cascade) -> None:
    tasks = make_tasks(40, seed=4)
    result = compare(cascade, tasks, rng=rng())
    answers = [cascade.answer(task.prompt) for task in tasks]
    right = [is_right(a.stage, t.prompt) for a, t in zip(answers, tasks, strict=True)]
    assert result.ladder.quality == pytest.approx(np.mean(right))
    assert result.largest.quality == pytest.approx(
        np.mean([is_right("large", t.prompt) for t in tasks])
    )
    assert result.ladder.cost == pytest.approx(np.mean([a.cost for a in answers]))
    assert result.cost_ratio.value == pytest.approx(result.ladder.cost / result.largest.cost)
    assert sum(result.share_by_stage.values()) == pytest.approx(1)
    assert result.num_prompts == 40 and result.num_not_graded == 0


class Clock:
    """Goes on by a second whenever it is asked."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def test_both_sides_are_timed_by_one_clock(cascade: Cascade) -> None:
    result = compare(cascade, make_tasks(5), rng=rng(), clock=Clock())
    assert (result.ladder.latency_s, result.largest.latency_s) == (1, 1)
    assert tuple(result.latency_ratio) == (1, 1, 1)


def test_sides_take_turns_and_none_finds_the_others_prompt_in_the_cache(cascade: Cascade) -> None:
    """Between two times that the largest stage reads a prompt it reads another."""
    tasks = make_tasks(3 * BLOCK + 1, seed=5)
    compare(cascade, tasks, rng=rng(), request=Request(lam=500.0))
    engine = cascade.stages[-1].engine
    assert isinstance(engine, FakeEngine)
    asked = [messages[-1].content for messages, _, _ in engine.calls]
    assert all(a != b for a, b in itertools.pairwise(asked))
    block = {task.prompt: i // BLOCK for i, task in enumerate(tasks)}
    blocks = [number for prompt, number in block.items() for a in asked if prompt in a]
    in_order = [number for a in asked for prompt, number in block.items() if prompt in a]
    assert in_order == blocks and len(blocks) > len(tasks)


def test_a_ladder_of_one_stage_costs_what_that_stage_costs(cascade: Cascade) -> None:
    result = compare(cascade, make_tasks(20, seed=6), rng=rng(), request=Request(lam=0.0))
    assert result.escalation_rate == 0 and result.share_by_stage["small"] == 1
    assert result.cost_ratio.high < 0.2


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=30))
def test_a_side_compared_with_itself_does_not_differ(pairs: list[tuple[float, float]]) -> None:
    side = np.array([a for a, _ in pairs])
    assert tuple(paired_difference(side, side, rng=rng(), num_resamples=50)) == (0, 0, 0)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    draws = np.random.default_rng(1)
    covered = 0
    for _ in range(100):
        base = draws.normal(0, 5, 120)  # what both sides share cancels only when paired
        ours, theirs = base + draws.normal(0.3, 1, 120), base + draws.normal(0, 1, 120)
        found = paired_difference(ours, theirs, rng=draws, num_resamples=300)
        covered += found.low <= 0.3 <= found.high
        assert found.high - found.low < 1  # unpaired it would be 2.5
    assert covered >= 85


def test_a_ratio_of_means_is_not_a_mean_of_ratios() -> None:
    ours, theirs = np.array([1.0, 10.0]), np.array([2.0, 40.0])
    assert ratio_of_means(ours, theirs, rng=rng()).value == pytest.approx(11 / 42)
    assert np.isnan(ratio_of_means(np.array([]), np.array([]), rng=rng()).value)
