"""Rungs that never pay are left out; a chain that does better out of fold is used."""

from __future__ import annotations

import numpy as np
import pytest

from adaptive_sd.decision.guarded import GuardedPolicy
from adaptive_sd.decision.induction import FitTable, InductionFit, fit_induction
from adaptive_sd.decision.policy_fit import (
    RECOMMENDED_SHARE,
    fit_policy,
    guard,
    mean_policy,
    paying_stages,
    recommend_lam,
    with_safest,
)
from adaptive_sd.decision.rollout import roll_out
from tests.decision.tables import table_of, wild_table


def ladder(num_prompts: int = 600, seed: int = 0) -> FitTable:
    """Stage 1 is worse than stage 0 and dearer; stage 2 is much better; estimates tell."""
    rng = np.random.default_rng(seed)
    chance = np.stack(
        [
            rng.choice([0.1, 0.9], size=num_prompts),
            np.full(num_prompts, 0.3),
            np.full(num_prompts, 0.95),
        ],
        axis=1,
    )
    quality = (rng.random(chance.shape) < chance).astype(float)
    return table_of(quality, np.array([1.0, 2.0, 6.0]), chance)


def test_a_stage_that_never_pays_is_left_out_and_never_runs() -> None:
    table = ladder()
    assert paying_stages(table, seed=0) == (0, 2)
    found = fit_policy(table, rng=np.random.default_rng(0))
    assert found.policy.stages == (0, 2)
    assert found.run_share[:, 1].max() == found.answer_share[:, 1].max() == 0
    assert len(found.policy.induced.weights) == 4  # no state of it is kept
    for lam in found.policy.lam_grid[::4]:
        assert not (roll_out(found.policy, table, float(lam)).stage == 1).any()


def test_of_two_equal_stages_one_is_kept() -> None:
    table = ladder()
    twins = table_of(
        table.quality[:, [0, 0, 2]], np.array([1.0, 1.0, 6.0]), table.estimates[:, [0, 0, 2]]
    )
    assert len(paying_stages(twins, seed=0)) == 2


def test_stages_that_pay_are_kept() -> None:
    rng = np.random.default_rng(0)
    chance = np.stack(
        [rng.choice([0.1, 0.95], size=800) for _ in range(2)] + [np.ones(800)], axis=1
    )
    quality = (rng.random(chance.shape) < chance).astype(float)
    assert paying_stages(table_of(quality, np.array([1.0, 2.0, 9.0]), chance), seed=0) == (0, 1, 2)


def outcome_of(fit: InductionFit, quality: np.ndarray, cost: np.ndarray) -> InductionFit:
    shape = fit.quality.shape
    return fit._replace(
        quality=np.broadcast_to(quality[:, None], shape).astype(np.float32),
        cost=np.broadcast_to(cost[:, None], shape).astype(np.float32),
    )


def test_a_policy_that_loses_to_chains_gives_way_to_them_and_one_that_wins_does_not() -> None:
    table = ladder()
    fit = fit_induction(table, rng=np.random.default_rng(0))
    bad = outcome_of(fit, np.zeros(600), np.full(600, 99.0))
    guarded = guard([bad], table, rng=np.random.default_rng(1))
    assert None not in guarded.policy.chains
    for lam in guarded.policy.lam_grid[::6].tolist():
        rolled = roll_out(guarded.policy, table, lam)
        seen = guarded.seen_at(lam)
        assert seen.cost == pytest.approx(rolled.cost.mean(), abs=0.5)
        np.testing.assert_allclose(
            seen.answer_share, np.bincount(rolled.stage, minlength=3) / 600, atol=1e-12
        )
        assert seen.run_share.sum() == pytest.approx(rolled.num_run.mean())
    good = outcome_of(fit, np.ones(600), np.full(600, 0.5))
    kept = guard([good], table, rng=np.random.default_rng(1))
    assert set(kept.policy.chains) == {None}
    assert kept.quality.min() == 1 and kept.seen_at(3.0).cost == pytest.approx(0.5)


def test_a_chain_as_good_as_the_policy_does_not_replace_it() -> None:
    """Nothing can be told: policy and chains are the same single stages."""
    rng = np.random.default_rng(0)
    quality = (rng.random((300, 2)) < [0.4, 0.8]).astype(float)
    found = fit_policy(table_of(quality, np.array([1.0, 4.0])), rng=rng)
    assert sum(chain is not None for chain in found.policy.chains) <= 5


def test_the_mean_policy_estimates_the_mean() -> None:
    table = wild_table(80, 3, seed=0).table
    policies = [fit_induction(table, rng=np.random.default_rng(i)).policy for i in range(3)]
    mean = mean_policy(policies)
    for index, weights in enumerate(mean.weights):
        np.testing.assert_allclose(weights, np.mean([p.weights[index] for p in policies], axis=0))


def test_a_fit_is_the_same_for_a_seed() -> None:
    table = wild_table(80, 3, seed=1).table
    first, second = (fit_policy(table, rng=np.random.default_rng(4)) for _ in range(2))
    for name, values in first.policy.to_arrays().items():
        np.testing.assert_array_equal(values, second.policy.to_arrays()[name])
    assert first.recommended_lam == second.recommended_lam


def test_the_recommended_lambda_is_the_least_that_keeps_the_stated_share() -> None:
    grid, share = np.array([0.0, 1.0, 2.0, 4.0, 8.0]), RECOMMENDED_SHARE
    assert recommend_lam(grid, np.array([0.5, 0.6, share, 1.0, 1.0]), 1.0) == pytest.approx(2.0)
    halfway = np.array([0.5, 0.6, share - 0.02, share + 0.02, 1.0])
    assert recommend_lam(grid, halfway, 1.0) == pytest.approx(2 * np.sqrt(2))
    assert recommend_lam(grid, np.array([0.99, 1.0, 1.0, 1.0, 1.0]), 1.0) == 0.0
    assert recommend_lam(grid, np.array([0.1, 0.2, 0.4, 0.3, 0.2]), 1.0) == 2.0


def test_between_grid_points_what_was_seen_is_linear_in_log_lambda() -> None:
    found = fit_policy(wild_table(80, 2, seed=1).table, rng=np.random.default_rng(0))
    grid = found.policy.lam_grid
    middle = found.seen_at(float(np.sqrt(grid[7] * grid[8])))
    assert middle.quality == pytest.approx((found.quality[7] + found.quality[8]) / 2)
    np.testing.assert_allclose(middle.run_share, (found.run_share[7] + found.run_share[8]) / 2)
    at = found.seen_at(float(grid[7]))
    assert at.cost == found.cost[7]


def test_the_safest_dial_is_always_the_best_stage_and_others_stay_as_they_were() -> None:
    table = ladder()
    found = fit_policy(table, rng=np.random.default_rng(0))
    safe = with_safest(found, table)
    *grid, last = found.policy.lam_grid.tolist()
    rolled = roll_out(safe.policy, table, last)
    assert (rolled.stage == 2).all() and (rolled.num_run == 1).all()
    seen = safe.seen_at(last)
    assert (seen.quality, seen.cost) == (rolled.quality.mean(), rolled.cost.mean())
    assert seen.answer_share.tolist() == seen.run_share.tolist() == [0, 0, 1]
    for lam in grid:
        for before, after in zip(found.seen_at(lam), safe.seen_at(lam), strict=True):
            np.testing.assert_array_equal(before, after)
        for before, after in zip(
            roll_out(found.policy, table, lam), roll_out(safe.policy, table, lam), strict=True
        ):
            np.testing.assert_array_equal(before, after)
    again = GuardedPolicy.from_arrays(safe.policy.to_arrays())
    assert again.chains == safe.policy.chains
