"""Drafts are abandoned where their first tokens tell that this pays, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adaptive_sd.decision.abandon_guard import abandon_where_it_pays
from adaptive_sd.decision.abandoning import MIN_PROMPTS
from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.induction import InductionFit
from adaptive_sd.decision.partial import PARTIAL_STATISTICS, WHOLE, Drafted
from adaptive_sd.decision.policy_fit import fit_policy
from adaptive_sd.decision.states import held_of, may_abandon
from tests.decision.tables import (
    fit_induction,
    roll_out_induced,
    table_of,
    wild_table,
    with_parts,
)

COST = np.array([4.0, 10.0])


def telling_table(num_prompts: int = 600, *, tells: bool = True, seed: int = 0) -> FitTable:
    """Stage 0 is right on half of the prompts, which its first quarter tells, or nothing does.

    Its whole draft shows it too, so that the other half is escalated in any case.
    """
    right = np.random.default_rng(seed).random(num_prompts) < 0.5
    quality = np.stack([right, np.ones(num_prompts)], axis=1).astype(float)
    estimates = np.stack([np.where(right, 0.98, 0.02), np.full(num_prompts, 0.95)], axis=1)
    table = table_of(quality, COST, estimates)
    statistics = np.zeros((num_prompts, 2, WHOLE, len(PARTIAL_STATISTICS)), np.float32)
    if tells:
        statistics[:, 0, :, 0] = right[:, None]
    part_cost = np.full((num_prompts, 2, WHOLE), np.nan)
    part_cost[:, 0, 0] = 0.25 * COST[0]
    return replace(
        table,
        part_cost=part_cost,
        part_cost_after=np.full((num_prompts, 2, 2, WHOLE), np.nan),
        part_statistics=statistics,
    )


def fit(table: FitTable, *, may_abandon: bool = True, seed: int = 0) -> InductionFit:
    return fit_induction(table, rng=np.random.default_rng(seed), may_abandon=may_abandon)


def test_a_hopeless_draft_costs_its_first_tokens_only() -> None:
    """Half of the prompts: 4. The others: 1 + 10 instead of 4 + 10."""
    table = telling_table()
    found = fit(table)
    right = table.quality[:, 0] == 1
    outcome = roll_out_induced(found.policy, table, 40.0)
    np.testing.assert_array_equal(outcome.cost, np.where(right, 4.0, 1.0 + 10.0))
    np.testing.assert_array_equal(outcome.num_run, np.where(right, 1, 2))
    np.testing.assert_array_equal(outcome.quality, 1.0)
    np.testing.assert_array_equal(outcome.stage, np.where(right, 0, 1))


def test_the_estimates_before_the_draft_know_of_it() -> None:
    """Trying stage 0 costs 4 + .5 * 10 without abandoning, 2.5 + .5 * 10 with it."""
    table = telling_table(3000)
    lam = 40.0
    values = {}
    for abandons in (False, True):
        policy = fit(table, may_abandon=abandons).policy
        values[abandons] = policy.values((), table.state(()), lam).values_go[:, 0, 0]
    wrong = 1 - table.quality[:, 0].mean()
    np.testing.assert_allclose(values[False] - values[True], 3.0 * wrong, rtol=0.02)


def test_what_tells_nothing_abandons_nothing() -> None:
    for seed in range(5):
        table = telling_table(tells=False, seed=seed)
        assert fit(table).policy.savings == {}


def test_noise_is_not_taken_for_evidence() -> None:
    """Wild first tokens: what is reported may be a little worse than patience, never better."""
    gains = []
    for seed in range(6):
        table = telling_table(300, tells=False, seed=seed)
        noise = np.random.default_rng(seed).normal(size=table.part_statistics.shape)
        table = replace(table, part_statistics=noise.astype(np.float32))
        losses = [
            (f.cost + f.policy.lam_grid * (1 - f.quality)).mean(axis=0)
            for f in (fit(table), fit(table, may_abandon=False))
        ]
        gains.append((losses[1] - losses[0]) / losses[1])
    assert np.mean(gains) < 0.002


def test_without_another_way_to_an_answer_nothing_is_abandoned() -> None:
    table = with_parts(wild_table(300, 3, seed=1).table, seed=1)
    found = fit(table).policy
    assert found.savings
    for index, stage, place in found.savings:
        assert stage in may_abandon(held_of(index, (0, 1, 2)), (0, 1, 2))
        assert (index, stage) != (0, 2) and 0 <= place < WHOLE


def test_few_drafts_that_came_so_far_teach_nothing() -> None:
    table = telling_table()
    few = table.part_cost.copy()
    few[MIN_PROMPTS - 1 :] = np.nan
    assert fit(table).policy.savings
    assert not fit(replace(table, part_cost=few)).policy.savings


def test_what_is_reported_is_what_following_brings_about() -> None:
    """Each fold's policy is another one: on the whole, the same cost and quality."""
    table = with_parts(wild_table(1500, 3, seed=2).table, seed=2)
    found = fit(table)
    for column in range(2, 25, 4):
        lam = float(found.policy.lam_grid[column])
        rolled = roll_out_induced(found.policy, table, lam)
        assert found.cost[:, column].mean() == pytest.approx(rolled.cost.mean(), rel=0.05)
        assert found.quality[:, column].mean() == pytest.approx(rolled.quality.mean(), abs=0.03)


def test_it_is_taken_up_at_the_lambdas_where_it_pays_and_nowhere_else() -> None:
    table = telling_table()
    ours, plain = fit(table), fit(table, may_abandon=False)
    (merged,) = abandon_where_it_pays([ours], plain, None)
    losses = [f.cost + ours.policy.lam_grid * (1 - f.quality) for f in (ours, plain, merged)]
    means = np.array([each.mean(axis=0) for each in losses])
    pays = means[0] < means[1] - 1e-3
    assert pays.any() and not pays.all()
    np.testing.assert_allclose(means[2], np.where(pays, means[0], means[1]), rtol=1e-4)
    for saving in merged.policy.savings.values():
        assert not saving[:, ~pays].any()
    for state, (own, other, both) in enumerate(
        zip(ours.policy.weights, plain.policy.weights, merged.policy.weights, strict=True)
    ):
        grids = [w[:, bin(state).count("1") :].reshape(len(w), -1, 25) for w in (own, other, both)]
        np.testing.assert_array_equal(grids[2], np.where(pays, grids[0], grids[1]))


def test_a_policy_says_what_it_saved_and_where() -> None:
    table = telling_table()
    found = fit_policy(table, rng=np.random.default_rng(0))
    assert list(found.abandons()) == [0]
    at = found.abandons()[0]
    assert found.patient is not None
    saved = (
        found.patient.cost
        - found.cost
        + found.policy.lam_grid * (found.quality - found.patient.quality)
    )
    assert (saved[at] > 0).all()
    np.testing.assert_array_equal(found.cost[~at], found.patient.cost[~at])
    quality, cost = found.patient_at(float(found.policy.lam_grid[at][0]))
    assert (quality, cost) == (found.patient.quality[at][0], found.patient.cost[at][0])


def test_a_table_without_first_tokens_is_fitted_as_ever() -> None:
    table = wild_table(200, 3, seed=3).table
    plain = fit_policy(table, rng=np.random.default_rng(0))
    assert plain.patient is None and not plain.abandons()
    nothing = replace(
        with_parts(table, seed=0), part_cost=np.full((*table.cost.shape, WHOLE), np.nan)
    )
    same = fit_policy(nothing, rng=np.random.default_rng(0))
    ours, theirs = plain.policy.to_arrays(), same.policy.to_arrays()
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        np.testing.assert_allclose(values, theirs[name], rtol=1e-12)


def test_seconds_of_a_part_are_the_share_that_its_cost_is() -> None:
    table = telling_table(4)
    table = replace(table, cost_after=np.full((4, 2, 2), 0.5))
    seconds = np.tile([8.0, 30.0], (4, 1))
    timed = table.costing(seconds)
    for offered in (None, Drafted(0), Drafted(0, 0)):
        np.testing.assert_array_equal(timed.cost_to(Drafted(1), offered), 30.0)
    np.testing.assert_array_equal(timed.cost_to(Drafted(0, 0), None), 2.0)
    np.testing.assert_array_equal(timed.cost_to(Drafted(0, 1), None), 8.0)
    for place in range(WHOLE):
        np.testing.assert_array_equal(timed.reaches(0, place), table.reaches(0, place))
    bare = replace(table, part_cost=None, part_cost_after=None, part_statistics=None)
    np.testing.assert_array_equal(bare.costing(seconds).cost, seconds)


def test_a_part_is_paid_as_the_whole_is_and_an_ended_draft_is_whole() -> None:
    table = telling_table(4)
    after = np.full((4, 2, 2), np.nan)
    after[:, 1, 0] = 5.0
    part_after = np.full((4, 2, 2, WHOLE), np.nan)
    part_after[:2, 1, 0, 0] = 8.0
    part_cost = table.part_cost.copy()
    part_cost[:, 1, 0] = 2.0
    table = replace(table, cost_after=after, part_cost_after=part_after, part_cost=part_cost)
    whole, part = Drafted(0), Drafted(0, 0)
    np.testing.assert_array_equal(table.cost_to(Drafted(1), None), 10.0)
    np.testing.assert_array_equal(table.cost_to(Drafted(1), whole), 5.0)
    np.testing.assert_array_equal(table.cost_to(Drafted(1), part), [8.0, 8.0, 5.0, 5.0])
    np.testing.assert_array_equal(table.cost_to(Drafted(1, 0), whole), 1.0)
    np.testing.assert_array_equal(table.cost_to(Drafted(1, 1), whole), 5.0)
    np.testing.assert_array_equal(table.cost_to(part, None), 1.0)
