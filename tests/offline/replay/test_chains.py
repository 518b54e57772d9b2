"""Chains equal ThresholdPolicy, and the front equals brute force."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive_sd.decision.chains import NUM_QUANTILES, chains_of
from adaptive_sd.decision.policies import ThresholdPolicy
from adaptive_sd.offline.replay.chains import (
    best_pair,
    frugal,
    run_chain,
    threshold_chain,
)
from adaptive_sd.offline.replay.dials import MAX_POINTS
from adaptive_sd.offline.replay.front import front
from tests.decision.tables import drive, wild_table
from tests.offline.replay.halves import wild_halves


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_a_chain_is_the_threshold_policy_prompt_by_prompt(seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = wild_table(12, 4, seed=seed).table
    size = int(rng.integers(1, 5))
    stages = tuple(sorted(rng.permutation(4)[:size].tolist()))
    chain = ThresholdPolicy(stages, tuple(rng.random(size - 1).tolist()))
    run = run_chain(table, chain)
    for row in range(12):
        path = drive(chain, table, row, 1.0)
        assert run.quality[row] == path.quality
        assert run.cost[row] == pytest.approx(path.cost)
        assert run.escalated[row] == float(len(path.stages) > 1)


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_best_pair_is_the_front_of_all_pairs_and_thresholds(seed: int) -> None:
    """On a table so small that all of it can be tried, written as its definition."""
    halves = wild_halves(14, 3, seed=seed)
    fit = halves.fit
    tried = []
    for first, second in itertools.combinations(range(3), 2):
        for step in range(1, NUM_QUANTILES + 1):
            threshold = np.quantile(fit.estimates[:, first], step / (NUM_QUANTILES + 1))
            stops = fit.estimates[:, first] >= threshold
            goes = fit.cost[:, first] + fit.cost_of(second, (first,))
            cost = np.where(stops, fit.cost[:, first], goes).mean()
            quality = np.where(stops, fit.quality[:, first], fit.quality[:, second]).mean()
            tried.append((float(cost), float(quality)))
    best = {
        (round(c, 9), round(q, 9))
        for c, q in tried
        if not any(d <= c + 1e-12 and r >= q - 1e-12 and (d, r) != (c, q) for d, r in tried)
    }
    dials = best_pair(halves)
    found = list(zip(dials.fit_cost.round(9), dials.fit_quality.round(9), strict=True))
    assert best <= set(found[3:])
    # of equal points one is enough
    assert {c for c, _ in found[3:]} == {c for c, _ in best} or len(set(tried)) < len(tried)


@pytest.mark.parametrize("policy", [threshold_chain, best_pair, frugal])
def test_single_stages_are_among_the_points_and_no_more_than_forty_count(policy) -> None:  # type: ignore[no-untyped-def]
    halves = wild_halves(200, 4, seed=1)
    dials = policy(halves)
    assert dials.labels[:4] == halves.names and len(dials.labels) <= MAX_POINTS
    np.testing.assert_array_equal(dials.quality[:, :4], halves.test.quality)
    assert len(set(dials.labels)) == len(dials.labels)


def test_one_stage_has_no_chain() -> None:
    assert best_pair(wild_halves(20, 1)).labels == ("small",)


def test_a_long_ladder_gets_fewer_thresholds_a_stage() -> None:
    table = wild_table(60, 7, seed=0).table
    table = replace(table, estimates=np.random.default_rng(0).random((60, 7)))
    assert 500 < len(list(chains_of(table, tuple(range(7))))) <= 2500
    assert len(list(chains_of(table, (0, 1)))) == NUM_QUANTILES


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30))
def test_the_front_is_what_nothing_cheaper_equals(pairs: list[tuple[int, int]]) -> None:
    cost, quality = np.array(pairs, dtype=float).T
    kept = front(cost, quality, 40)
    assert (np.diff(cost[kept]) > 0).all() and (np.diff(quality[kept]) > 0).all()
    for c, q in pairs:
        assert any(cost[k] <= c and quality[k] >= q for k in kept)
    few = front(cost, quality, 3)
    assert len(few) <= 3 and set(few) <= set(kept)
