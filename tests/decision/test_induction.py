"""The fit finds the best rule there is for what can be known, and none that looks ahead."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from adaptive_sd.decision.fit_table import MAX_STAGES, FitTable
from adaptive_sd.decision.folds import make_folds
from adaptive_sd.decision.induction import NUM_FOLDS, InductionFit, induce, lam_grid
from adaptive_sd.decision.state_fitting import FoldedTable
from adaptive_sd.decision.states import STATE_COLUMNS
from adaptive_sd.errors import DataError
from tests.decision.tables import fit_induction, roll_out_induced, table_of, wild_table

LEVELS = np.array([0.02, 0.3, 0.9])  # chance and log odds bend apart: any value of each fits


def fit(table: FitTable, seed: int = 0) -> InductionFit:
    return fit_induction(table, rng=np.random.default_rng(seed))


def loss_at(found: InductionFit, table: FitTable, lam: float) -> float:
    outcome = roll_out_induced(found.policy, table, lam)
    return float((outcome.cost + lam * (1 - outcome.quality)).mean())


def signal_table(num_prompts: int = 3000, seed: int = 0) -> FitTable:
    """Stage 0 is right as often as its estimate (three values) says; stage 1 as often as .8."""
    rng = np.random.default_rng(seed)
    estimates = np.stack([rng.choice(LEVELS, size=num_prompts), np.full(num_prompts, 0.8)], axis=1)
    quality = (rng.random(estimates.shape) < estimates).astype(float)
    return table_of(quality, np.array([1.0, 4.0]), estimates)


def best_loss_by_brute_force(table: FitTable, lam: float) -> float:
    """Over every rule that sees what may be seen: a level after stage 0, nothing before it.

    A rule: run stage 1 at once; or run stage 0 and at each level stop, or go on and return
    either draft.
    """
    paid, level = table.cost[0], np.searchsorted(LEVELS, table.estimates[:, 0])
    wrong = lam * (1 - table.quality)
    options = np.stack(
        [paid[0] + wrong[:, 0], paid[0] + paid[1] + wrong[:, 0], paid[0] + paid[1] + wrong[:, 1]]
    )
    rows = np.arange(len(level))
    rules = itertools.product(range(3), repeat=3)
    losses = [options[np.array(rule)[level], rows].mean() for rule in rules]
    return float(min(*losses, (paid[1] + wrong[:, 1]).mean()))


def test_the_fitted_policy_is_as_good_as_the_best_rule_by_brute_force() -> None:
    table = signal_table()
    found = fit(table)
    for lam in found.policy.lam_grid[1:]:
        best = best_loss_by_brute_force(table, lam)
        assert best - 1e-9 <= loss_at(found, table, lam) <= 1.001 * best, lam


def test_also_on_prompts_that_the_fit_has_not_seen() -> None:
    found, unseen = fit(signal_table()), signal_table(seed=1)
    for lam in found.policy.lam_grid[1:]:
        assert loss_at(found, unseen, lam) <= 1.01 * best_loss_by_brute_force(unseen, lam), lam


def three_stages(num_prompts: int = 600) -> tuple[FitTable, np.ndarray]:
    """A prompt's kind, seen before any draft, is the stage from which on answers are right."""
    kind = np.arange(num_prompts) % 3
    quality = (np.arange(3) >= kind[:, None]).astype(float)
    prompt = np.eye(3, dtype=np.float32)[kind]
    return table_of(quality, np.array([1.0, 3.0, 9.0]), prompt=prompt), kind


def test_what_the_prompt_tells_skips_the_stages_that_would_fail() -> None:
    table, kind = three_stages()
    outcome = roll_out_induced(fit(table).policy, table, 50.0)
    np.testing.assert_array_equal(outcome.stage, kind)
    np.testing.assert_array_equal(outcome.num_run, 1)
    np.testing.assert_array_equal(outcome.quality, 1.0)
    np.testing.assert_array_equal(outcome.cost, table.cost[0][kind])


def test_where_the_prompt_tells_all_each_lambda_buys_what_it_is_worth() -> None:
    """Right from stage k on: worth cost[k] when that is below cost[0] + lam."""
    table, kind = three_stages()
    found = fit(table)
    for lam in (1.0, 1.8, 4.0, 7.5, 12.0, 100.0):
        buys = table.cost[0][kind] < table.cost[0, 0] + lam
        outcome = roll_out_induced(found.policy, table, lam)
        np.testing.assert_array_equal(outcome.stage, np.where(buys, kind, 0), err_msg=str(lam))


def test_lambda_0_pays_the_least_and_the_largest_buys_the_best() -> None:
    table = signal_table()
    found = fit(table)
    cheapest = roll_out_induced(found.policy, table, 0.0)
    np.testing.assert_array_equal(cheapest.cost, 1.0)
    dearest = roll_out_induced(found.policy, table, float(found.policy.lam_grid[-1]))
    both = np.where(table.estimates[:, 0] > 0.8, table.quality[:, 0], table.quality[:, 1])
    assert dearest.quality.mean() >= both.mean() - 1e-9
    assert dearest.quality.mean() > table.quality.mean(axis=0).max() + 0.02


def test_the_first_stage_is_no_special_one() -> None:
    """Where a later stage is the cheapest, it is the one that lambda 0 runs."""
    quality = np.tile([[0.2, 0.6]], (200, 1))
    found = fit(table_of(quality, np.array([5.0, 1.0])))
    assert found.run_share[:, 0].max() == 0 and found.run_share[:, 1].min() == 1


def test_a_stage_that_is_worse_and_dearer_never_runs() -> None:
    rng = np.random.default_rng(0)
    first = rng.choice(LEVELS, size=900)
    quality = np.stack([first, 0.5 * first, np.full(900, 0.95)], axis=1)
    found = fit(table_of(quality, np.array([1.0, 2.0, 6.0]), np.clip(quality, 0.01, 0.99)))
    np.testing.assert_array_equal(found.run_share[:, 1], 0)
    assert found.run_share[:, 0].max() == 1 and found.run_share[:, 2].max() > 0.9


def test_agreement_of_two_drafts_is_evidence() -> None:
    """Two stages give the same answer when both are right, and a third one settles the rest."""
    rng = np.random.default_rng(0)
    right = rng.random((2000, 2)) < 0.6
    quality = np.column_stack([right, np.ones(2000)]).astype(float)
    answers = np.where(quality > 0, "right", np.array(["a", "b", "c"]))
    found = fit(table := table_of(quality, np.array([1.0, 1.0, 10.0]), answers=answers))
    blind = fit(unseen := table_of(quality, np.array([1.0, 1.0, 10.0])))
    assert loss_at(found, table, 100.0) < 0.9 * loss_at(blind, unseen, 100.0)
    outcome = roll_out_induced(found.policy, table, 100.0)
    assert (outcome.num_run[right.all(axis=1)] == 2).all()
    assert (outcome.num_run[~right.all(axis=1)] == 3).all()


def test_noise_in_the_evidence_is_not_taken_for_knowledge() -> None:
    """Two stages alike in cost and luck: what a fit on other prompts chooses is right half of
    the time; what it learned by heart would be right more often.
    """
    realised = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        quality = (rng.random((60, 2)) < 0.5).astype(float)
        prompt = rng.normal(size=(60, 20)).astype(np.float32)
        realised.append(fit(table_of(quality, np.array([1.0, 1.0]), prompt=prompt)).quality[:, -1])
    assert 0.4 < np.mean(realised) < 0.55


def test_what_is_reported_is_what_happened_on_each_prompt() -> None:
    table = wild_table(200, 3, seed=0).table
    found = fit(table)
    rows = np.arange(200)
    assert found.quality.shape == found.cost.shape == found.stage.shape == (200, 25)
    for column in range(25):
        returned = found.stage[:, column]
        np.testing.assert_array_equal(found.quality[:, column], table.quality[rows, returned])
    ran = found.run_share
    assert ((ran >= 0) & (ran <= 1)).all() and (ran.sum(axis=1) >= 1).all()
    least = np.minimum(
        table.cost,
        np.nanmin(np.where(np.isnan(table.cost_after), np.inf, table.cost_after), axis=2),
    ).min(axis=1)
    assert (found.cost >= least[:, None] - 1e-3).all()


def test_costs_in_other_units_give_the_same_policy() -> None:
    wild = wild_table(150, 2, seed=1, verified=False).table
    micro = table_of(
        wild.quality,
        1e-6 * wild.cost,
        wild.estimates,
        prompt=wild.prompt_features,
        statistics=wild.statistics,
    )
    plain = fit(
        table_of(
            wild.quality,
            wild.cost,
            wild.estimates,
            prompt=wild.prompt_features,
            statistics=wild.statistics,
        )
    )
    found = fit(micro)
    np.testing.assert_allclose(found.policy.lam_grid, 1e-6 * plain.policy.lam_grid)
    np.testing.assert_allclose(found.cost, 1e-6 * plain.cost, rtol=1e-4)
    np.testing.assert_array_equal(found.stage, plain.stage)


def test_a_fit_is_the_same_for_a_seed() -> None:
    table = wild_table(120, 3, seed=2).table
    first, same = fit(table), fit(table)
    np.testing.assert_array_equal(first.stage, same.stage)
    for one, other in zip(first.policy.weights, same.policy.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_was_fitted_for_other_stages_changes_nothing() -> None:
    """Odds of drafts are kept from one induction to the next."""
    table = wild_table(120, 3, seed=2).table
    folded = FoldedTable(table, make_folds(120, NUM_FOLDS, rng=np.random.default_rng(5)))
    induce(folded, (0, 1, 2))
    again = induce(folded, (0, 2))
    afresh = fit_induction(table, rng=np.random.default_rng(5), stages=(0, 2))
    np.testing.assert_equal(again.policy.to_arrays(), afresh.policy.to_arrays())
    np.testing.assert_array_equal(again.cost, afresh.cost)


def test_some_prompts_are_drawn_by_the_seed_and_a_small_table_is_left_whole() -> None:
    table = wild_table(50, 2, seed=0).table
    assert table.draw(50, seed=0) is table
    some, same, other = (table.draw(20, seed=seed).cost[:, 0].tolist() for seed in (0, 0, 1))
    assert some == same != other
    assert len(set(some)) == 20 and [c for c in table.cost[:, 0] if c in set(some)] == some


@pytest.mark.parametrize("num_stages", [1, MAX_STAGES])
def test_any_number_of_stages_up_to_the_limit(num_stages: int) -> None:
    found = fit(wild_table(40, num_stages, seed=3).table)
    assert len(found.policy.weights) == 2**num_stages
    if num_stages == 1:
        assert (found.stage == 0).all() and (found.run_share == 1).all()


def test_the_grid_of_lambdas_begins_at_0_and_ascends_around_the_costs() -> None:
    cost = np.array([[0.1, 5.0], [0.3, 9.0]])
    grid = lam_grid(cost)
    assert grid[0] == 0 and (np.diff(grid) > 0).all()
    assert grid[1] < cost.min() and grid[-1] > 100 * cost.mean(axis=0).max()
    assert (np.diff(lam_grid(np.zeros((3, 2)))) > 0).all()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("cost", lambda a: a[:, :1], r"cost has shape \(20, 1\), not \(20, 2\)"),
        ("estimates", lambda a: a[:-1], r"estimates has shape \(19, 2\)"),
        ("agreement", lambda a: a[:, :, 0], "agreement has shape"),
        ("statistics", lambda a: a[:-1], "features are not of 20 prompts"),
        ("prompt_features", lambda a: a[:-1], "features are not of 20 prompts"),
        ("quality", lambda a: a + 1, "quality of prompt .* is "),
        ("estimates", lambda a: a * np.nan, "estimates of prompt 0, stage 0 is nan"),
        ("cost", lambda a: -a, "cost of prompt 0, stage 0 is -"),
        ("cost", lambda a: a * np.inf, "cost of prompt 0, stage 0 is inf"),
        ("statistics", lambda a: a * np.nan, "statistics of prompt 0 are not all finite"),
        ("prompt_features", lambda a: a + np.inf, "prompt_features of prompt 0 are not all"),
        ("cost_after", lambda _: -np.ones((20, 2, 2)), "cost_after of prompt 0, stage 0 has a neg"),
    ],
)
def test_a_table_that_cannot_be_is_refused(name: str, change: object, message: str) -> None:
    table = wild_table(20, 2, seed=0).table
    fields = {field: getattr(table, field) for field in FitTable.__slots__}
    fields[name] = change(fields[name])  # type: ignore[operator]
    with pytest.raises(DataError, match=message):
        FitTable(**fields)


def test_too_many_stages_and_too_few_prompts_are_refused() -> None:
    with pytest.raises(DataError, match="8 stages"):
        wild_table(20, MAX_STAGES + 1, seed=0)
    with pytest.raises(DataError, match="cannot make 5 folds"):
        fit(wild_table(4, 2, seed=0).table)
    assert wild_table(3, 2, seed=0).table.statistics.shape == (3, 2, len(STATE_COLUMNS))
