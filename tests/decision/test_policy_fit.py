"""Rungs that never pay are left out; a chain that does better out of fold is used."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adaptive_sd.decision.alone import with_safest, with_sound_default
from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.guarded import GuardedPolicy
from adaptive_sd.decision.induction import InductionFit
from adaptive_sd.decision.policy_fit import (
    NOISE,
    RECOMMENDED_SHARE,
    fit_policy,
    guard,
    mean_policy,
    paying_stages,
    recommend_lam,
)
from adaptive_sd.decision.rollout import roll_out
from tests.decision.tables import fit_induction, table_of, wild_table


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


def test_the_default_gives_way_to_a_stage_that_alone_is_cheaper_and_no_worse() -> None:
    table = ladder()
    found = fit_policy(table, rng=np.random.default_rng(0))
    cost, quality = table.cost.mean(axis=0), table.quality.mean(axis=0)
    dear = found._replace(cost=found.cost + cost[2], quality=found.quality * 0 + quality[1])
    sound = with_sound_default(dear, table)
    chain, rolled = (
        sound.policy.chain_at(sound.recommended_lam),
        roll_out(sound.policy, table, sound.recommended_lam),
    )
    assert chain is not None and quality[chain.stages[0]] >= quality[1]
    seen = sound.seen_at(sound.recommended_lam)
    assert seen.quality == pytest.approx(rolled.quality.mean())
    assert seen.cost == pytest.approx(rolled.cost.mean())
    pairs = zip(sound.policy.chains, dear.policy.chains, strict=True)
    assert sum(one is not other for one, other in pairs) == 1


@pytest.mark.parametrize("better", ["cost", "quality"])
def test_the_default_stays_where_no_stage_is_as_good_in_both(better: str) -> None:
    table = ladder()
    found = fit_policy(table, rng=np.random.default_rng(0))
    values = {"cost": found.cost * 0, "quality": found.quality * 0 + 1}
    good = found._replace(**{better: values[better]})
    assert with_sound_default(good, table) is good


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


def test_the_recommended_lambda_is_the_least_whose_margin_is_shown() -> None:
    grid, quality = np.array([0.0, 1.0, 2.0, 4.0, 8.0]), np.array([0.1, 0.2, 0.4, 0.3, 0.2])
    for margin, wanted in (
        ([-0.4, -0.3, 0.0, 0.1, 0.2], 2.0),
        ([-0.4, -0.3, -0.02, 0.02, 0.2], 2 * np.sqrt(2)),
        ([0.01, 0.1, 0.1, 0.1, 0.1], 0.0),
        ([-0.4, -0.3, -0.2, -0.1, -0.01], 2.0),  # of the best quality
    ):
        assert recommend_lam(grid, np.array(margin), quality) == pytest.approx(wanted)


def test_luck_at_one_of_many_lambdas_recommends_none_of_them() -> None:
    """Below the chain's lambdas the policy truly keeps less than the share, at all alike."""
    rng = np.random.default_rng(0)
    num_prompts = 600
    table = table_of((rng.random((num_prompts, 1)) < 0.95).astype(float), np.array([6.0]))
    fit = fit_induction(table, rng=rng)
    truth = RECOMMENDED_SHARE * table.quality.mean() - 0.015
    num_fooled = num_means = 0
    for _ in range(20):
        seen = rng.random(fit.quality.shape) < truth
        cheap = np.full(fit.cost.shape, 0.5, np.float32)
        draw = fit._replace(quality=seen.astype(np.float32), cost=cheap)
        found = guard([draw], table, rng=np.random.default_rng(1))
        good = next(n for n, chain in enumerate(found.policy.chains) if chain is not None)
        num_fooled += found.recommended_lam <= found.policy.lam_grid[good - 1]
        num_means += (found.quality[:good] >= truth + 0.015).any()
    assert num_fooled <= 2 < 10 < num_means


def test_margins_are_of_the_same_prompts_one_sided() -> None:
    """Where the policy does what the best stage does, the difference has that stage's noise."""
    table = ladder()
    fit = fit_induction(table, rng=np.random.default_rng(0))
    same = outcome_of(fit, table.quality[:, 2], np.full(600, 0.1))
    found = guard([same], table, rng=np.random.default_rng(1))
    kept = (1 - RECOMMENDED_SHARE) * table.quality[:, 2]
    np.testing.assert_allclose(
        found.margin, kept.mean() - NOISE * kept.std() / np.sqrt(600), rtol=1e-4
    )
    assert found.recommended_lam == 0.0


def test_copies_of_a_prompt_show_no_more_than_one() -> None:
    table = ladder(200)
    fit = fit_induction(table, rng=np.random.default_rng(0))
    rows = np.repeat(np.arange(200), 5)
    copied = fit._replace(quality=fit.quality[rows], cost=fit.cost[rows], stage=fit.stage[rows])
    once = guard([fit], table, rng=np.random.default_rng(1))
    grouped, alone = (
        guard([copied], replace(table.take(rows), group=group), rng=np.random.default_rng(1))
        for group in (rows, None)
    )
    assert grouped.policy.chains == once.policy.chains
    for name in ("quality", "margin", "recommended_lam"):
        np.testing.assert_allclose(getattr(grouped, name), getattr(once, name), atol=1e-9)
    assert (alone.margin > once.margin + 1e-3).any()


def coins(num_texts: int = 50, num_copies: int = 8) -> FitTable:
    """Which of two stages is right is a coin for each text, which its features tell from others."""
    rng = np.random.default_rng(0)
    texts = np.repeat(np.arange(num_texts), num_copies)
    right = (rng.random(num_texts) < 0.5)[texts]
    prompt = rng.normal(size=(num_texts, 30)).astype(np.float32)[texts]
    quality = np.stack([right, ~right], axis=1).astype(float)
    return replace(table_of(quality, np.array([1.0, 1.0]), prompt=prompt), group=texts)


def test_what_copies_of_a_prompt_brought_about_is_not_told_of_it() -> None:
    table = coins()
    unseen, leaking = (
        fit_induction(t, rng=np.random.default_rng(1)).quality[:, 12].mean()
        for t in (table, replace(table, group=None))
    )
    assert unseen < 0.65 and leaking > 0.8


def test_prompts_of_a_group_each_are_fitted_as_prompts_without() -> None:
    table = wild_table(80, 3, seed=2).table
    plain, grouped = (
        fit_policy(replace(table, group=group), rng=np.random.default_rng(4))
        for group in (None, np.arange(80) + 3)
    )
    for name, values in plain.policy.to_arrays().items():
        np.testing.assert_array_equal(values, grouped.policy.to_arrays()[name])
    for one, other in zip(plain[1:], grouped[1:], strict=True):
        np.testing.assert_array_equal(one, other)


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
