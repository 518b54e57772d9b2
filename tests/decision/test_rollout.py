"""The policy followed on a whole table equals `decide` followed prompt by prompt."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive_sd.decision.induced import InducedPolicy
from adaptive_sd.decision.partial import WHOLE
from adaptive_sd.decision.rollout import roll_out, roll_out_all
from adaptive_sd.errors import ConfigError
from tests.decision.tables import (
    Wild,
    drive,
    evidence_of,
    fit_induction,
    roll_out_induced,
    table_of,
    unguarded,
    wild_table,
    with_parts,
    with_savings,
)


def with_first_tokens(wild: Wild, seed: int) -> Wild:
    return wild._replace(table=with_parts(wild.table, seed=seed))


def assert_equal_row_by_row(policy: InducedPolicy, wild: Wild, lam: float) -> None:
    found = roll_out_induced(policy, wild.table, lam)
    for row in range(len(found.cost)):
        plain = drive(policy, wild.table, row, lam, wild.answers)
        assert found.stage[row] == plain.returned, (row, lam)
        assert found.num_run[row] == len(plain.stages), (row, lam)
        assert found.quality[row] == plain.quality, (row, lam)
        assert found.cost[row] == pytest.approx(plain.cost, rel=1e-12), (row, lam)


@pytest.mark.parametrize("num_stages", [1, 2, 3, 4])
@pytest.mark.parametrize("verified", [False, True])
def test_a_fitted_policy(num_stages: int, verified: bool) -> None:
    fitted_on = wild_table(120, num_stages, seed=0, verified=verified).table
    policy = fit_induction(fitted_on, rng=np.random.default_rng(0)).policy
    unseen = wild_table(40, num_stages, seed=1, verified=verified)
    between = np.sqrt(policy.lam_grid[1:-1] * policy.lam_grid[2:])[::2]
    paths = set()
    for lam in (*policy.lam_grid[::3], *between, 0.1 * policy.lam_grid[1]):
        assert_equal_row_by_row(policy, unseen, float(lam))
        outcome = roll_out_induced(policy, unseen.table, float(lam))
        paths |= set(zip(outcome.stage.tolist(), outcome.num_run.tolist(), strict=True))
    assert len(paths) >= 2 * num_stages - 1  # else the law was tried on hardly any path


@pytest.mark.parametrize("num_stages", [2, 3, 4])
def test_a_policy_that_abandons(num_stages: int) -> None:
    fitted_on = with_first_tokens(wild_table(500, num_stages, seed=0), 0).table
    rng = np.random.default_rng(0)
    policy = fit_induction(fitted_on, rng=rng, may_abandon=True).policy
    unseen = with_first_tokens(wild_table(60, num_stages, seed=1), 1)
    abandoned = set()
    for lam in policy.lam_grid[::3].tolist():
        assert_equal_row_by_row(policy, unseen, lam)
        for row in range(60):
            path = drive(policy, unseen.table, row, lam, unseen.answers)
            abandoned |= {
                draft for draft in zip(path.stages, path.places, strict=True) if draft[1] < WHOLE
            }
    assert len(abandoned) >= 2


def test_every_state_is_seen_alike_also_those_that_are_hardly_ever_reached() -> None:
    rng = np.random.default_rng(0)
    wild = wild_table(12, 5, seed=2)
    shaped = fit_induction(wild.table, rng=rng).policy
    weights = tuple(0.02 * rng.normal(size=w.shape) for w in shaped.weights)
    for state in weights:
        state[0] += 0.5  # estimates between the bounds, where clipping hides nothing
    policy = InducedPolicy(tuple(range(5)), shaped.lam_grid, weights, np.zeros(5))
    lam = float(shaped.lam_grid[7])
    for size in range(6):
        for stages in itertools.combinations(range(5), size):
            values = policy.values(stages, wild.table.state(stages), lam)
            for row in range(12):
                seen = evidence_of(wild.table, row, stages, wild.answers)
                choice = policy.decide(seen, lam)
                losses = [prospect.loss for prospect in choice.prospects]
                if stages:
                    assert losses.pop(0) == pytest.approx(values.value_stop[row, 0], rel=1e-9)
                np.testing.assert_allclose(losses, values.values_go[row, :, 0], rtol=1e-9)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**31),
    st.floats(0, 1),
    st.sampled_from([0.05, 0.3, 3.0]),
    st.sampled_from([2, 3, 4]),
)
def test_any_policy(seed: int, place: float, scale: float, num_stages: int) -> None:
    """Random weights: estimates far outside 0..1 are clipped, and clipped losses tie."""
    rng = np.random.default_rng(seed)
    wild = wild_table(10, num_stages, seed=seed)
    shaped = fit_induction(wild.table, rng=rng, num_folds=2).policy
    weights = tuple(scale * rng.normal(size=w.shape) for w in shaped.weights)
    policy = InducedPolicy(tuple(range(num_stages)), shaped.lam_grid, weights, np.zeros(num_stages))
    lam = float(place * shaped.lam_grid[-1])
    assert_equal_row_by_row(policy, wild, lam)
    assert_equal_row_by_row(with_savings(policy, rng=rng), with_first_tokens(wild, seed), lam)


def test_the_draft_returned_is_an_earlier_one_where_the_later_is_seen_to_fail() -> None:
    """Stage 0 is worth .6 always; stage 1 is right on seven of ten prompts and it shows."""
    second = (np.arange(200) % 10 < 7).astype(float)
    quality = np.stack([np.full(200, 0.6), second], axis=1)
    estimates = np.stack([np.full(200, 0.6), np.clip(second, 0.05, 0.95)], axis=1)
    table = table_of(quality, np.array([1.0, 2.0]), estimates)
    policy = fit_induction(table, rng=np.random.default_rng(0)).policy
    # both: 3 + 20 * .3 * .4 = 5.4; stage 0 alone: 1 + 8; stage 1 alone: 2 + 6
    outcome = roll_out_induced(policy, table, 20.0)
    np.testing.assert_array_equal(outcome.num_run, 2)
    np.testing.assert_array_equal(outcome.stage, second)
    np.testing.assert_array_equal(outcome.quality, np.maximum(second, 0.6))


def test_more_weight_of_quality_buys_more_of_it_on_the_whole() -> None:
    table = wild_table(400, 3, seed=5).table
    policy = fit_induction(table, rng=np.random.default_rng(0)).policy
    outcomes = [roll_out_induced(policy, table, float(lam)) for lam in policy.lam_grid]
    cost = np.array([outcome.cost.mean() for outcome in outcomes])
    quality = np.array([outcome.quality.mean() for outcome in outcomes])
    assert (np.diff(cost) > -0.05 * cost.max()).all() and cost[-1] > 2 * cost[0]
    assert (np.diff(quality) > -0.03).all() and quality[-1] > quality[0] + 0.1


@pytest.mark.parametrize("num_at_once", [1, 7, 49, 50])
def test_many_lambdas_in_pieces_are_each_alone_on_all(num_at_once: int) -> None:
    table = wild_table(50, 3, seed=6).table
    policy = unguarded(fit_induction(table, rng=np.random.default_rng(0)).policy)
    lams = policy.lam_grid[::5].tolist()
    together = roll_out_all(policy, table, lams, num_at_once)
    for place, lam in enumerate(lams):
        for one, many in zip(roll_out(policy, table, lam), together, strict=True):
            np.testing.assert_allclose(one, many[:, place], rtol=1e-12)


def test_a_lambda_outside_the_grid_is_refused() -> None:
    table = wild_table(20, 2, seed=0).table
    policy = fit_induction(table, rng=np.random.default_rng(0)).policy
    with pytest.raises(ConfigError, match="lambda is"):
        roll_out_induced(policy, table, 2 * float(policy.lam_grid[-1]))
