"""Polished policies lose less, by what was recorded on other prompts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import check_grad

from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.folds import make_folds
from adaptive_sd.decision.induction import NUM_FOLDS, induce, induce_polished
from adaptive_sd.decision.polishing import PolishedState, Polisher, RealisedLoss
from adaptive_sd.decision.state_fitting import FoldedTable
from adaptive_sd.decision.states import StateFit
from tests.decision.tables import roll_out_induced, table_of, wild_table


def folds_of(table: FitTable, seed: int = 0) -> np.ndarray:
    return make_folds(len(table.quality), NUM_FOLDS, rng=np.random.default_rng(seed))


def polisher_of(table: FitTable, num_stages: int, *, seed: int = 0) -> Polisher:
    """Of estimates that mean nothing."""
    rng = np.random.default_rng(seed)
    grid = np.array([0.0, 1.0, 10.0])
    states = []
    for index in range(2**num_stages):
        held = tuple(s for s in range(num_stages) if index >> s & 1)
        later = num_stages - 1 - max(held, default=-1)
        width = table.state(held).shape[1]
        states.append(
            StateFit(
                held,
                rng.uniform(0.2, 0.8, size=(len(table.quality), len(held))),
                rng.uniform(-0.1, 0.3, size=(len(table.quality), later, 2, 3)),
                np.zeros((width, len(held))),
                rng.normal(size=(width, later, 2, 3)),
            )
        )
    return Polisher(table, tuple(range(num_stages)), states, grid, np.zeros(num_stages))


def states_at(polisher: Polisher, place: int) -> tuple[PolishedState, ...]:
    rows = np.arange(len(polisher.table.quality))
    return tuple(state.at(place) for state in polisher.known(rows))


@pytest.mark.parametrize("num_stages", [2, 3, 4])
@pytest.mark.parametrize("lam", [0.1, 3.0])
def test_the_gradient_is_that_of_the_loss(num_stages: int, lam: float) -> None:
    table = wild_table(40, num_stages, seed=0).table
    polisher = polisher_of(table, num_stages)
    loss = RealisedLoss.of(states_at(polisher, 1), lam)
    for seed in range(3):
        flat = 0.1 * np.random.default_rng(seed).normal(size=loss.size)
        found = check_grad(lambda x: loss(x)[0], lambda x: loss(x)[1], flat, epsilon=1e-6)
        assert found < 1e-4 * np.linalg.norm(loss(flat)[1])


def test_decisions_without_doubt_lose_what_following_them_does() -> None:
    """At a temperature near 0 the chances are those of the policy's own choices."""
    table = wild_table(60, 3, seed=1).table
    polisher = polisher_of(table, 3)
    loss = RealisedLoss(states_at(polisher, 2), 10.0, 1e-9)
    assert 1e-9 * loss(np.zeros(loss.size))[0] == pytest.approx(followed(polisher, 2, 10.0))


def followed(polisher: Polisher, place: int, lam: float) -> float:
    """Mean loss of the estimates' choices, prompt by prompt."""
    table, losses = polisher.table, []
    for row in range(len(table.quality)):
        held: tuple[int, ...] = ()
        paid = 0.0
        while True:
            state = polisher.fitted[sum(1 << s for s in held)]
            best = state.stop[row].max(initial=0.0)
            quality = np.clip(best + state.go[row, :, 0, place], 0, 1)
            going = np.maximum(state.go[row, :, 1, place], 0) + lam * (1 - quality)
            if held and (not len(going) or lam * (1 - best) <= going.min()):
                returned = held[int(np.argmax(state.stop[row]))]
                losses.append(paid + lam * (1 - table.quality[row, returned]))
                break
            stage = 3 - len(going) + int(np.argmin(going))
            paid += table.cost_of(stage, held)[row]
            held = (*held, stage)
    return float(np.mean(losses))


def bent_table(num_prompts: int, seed: int) -> FitTable:
    """Stage 1 is needed where two things are told of the prompt, not one: no line has that."""
    rng = np.random.default_rng(seed)
    told = rng.random((num_prompts, 2)) < 0.5
    needed = told.all(axis=1)
    chance = np.stack([np.where(needed, 0.1, 0.85), np.full(num_prompts, 0.9)], axis=1)
    quality = (rng.random(chance.shape) < chance).astype(float)
    return table_of(quality, np.array([1.0, 6.0]), prompt=told.astype(np.float32))


def test_on_other_prompts_a_polished_policy_loses_less_where_no_line_fits() -> None:
    table, unseen = bent_table(2000, 0), bent_table(4000, 1)
    folded = FoldedTable(table, folds_of(table))
    plain, polished = induce(folded, (0, 1)), induce_polished([folded], (0, 1))
    gains = []
    for lam in plain.policy.lam_grid[10:]:
        found = [roll_out_induced(p.policy, unseen, float(lam)) for p in (plain, polished)]
        ours, theirs = ((f.cost + lam * (1 - f.quality)).mean() for f in found)
        gains.append((ours - theirs) / ours)
    assert np.mean(gains) > 0 and min(gains) > -0.01 and max(gains) > 0.02


def test_a_prompt_is_not_judged_by_what_it_brought_itself() -> None:
    table = wild_table(200, 2, seed=0).table
    folds = folds_of(table)
    own = folds == folds[0]
    changed = replace(table, quality=np.where(own[:, None], 1 - table.quality, table.quality))
    first, other = (
        Polisher(each, *polisher_of(table, 2)[1:]).polish(folds) for each in (table, changed)
    )
    assert any((a.weights != b.weights).any() for a, b in zip(first, other, strict=True))
    for before, after in zip(first, other, strict=True):
        np.testing.assert_array_equal(before.go[own], after.go[own])


def test_costs_and_lambda_0_stay_as_they_were() -> None:
    table = wild_table(200, 2, seed=0).table
    fitted = polisher_of(table, 2).fitted
    polished = polisher_of(table, 2).polish(folds_of(table))
    for before, after in zip(fitted, polished, strict=True):
        np.testing.assert_array_equal(before.go[:, :, 1], after.go[:, :, 1])
        np.testing.assert_array_equal(before.go[..., 0], after.go[..., 0])
        np.testing.assert_array_equal(before.weights[..., 0], after.weights[..., 0])
    assert any((a.go != b.go).any() for a, b in zip(fitted, polished, strict=True))


def test_noise_is_hardly_followed() -> None:
    """Alike stages, and evidence that tells nothing: out of fold nothing is won, nor much lost."""
    gaps = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        quality = (rng.random((200, 2)) < 0.6).astype(float)
        prompt = rng.normal(size=(200, 8)).astype(np.float32)
        table = table_of(quality, np.array([1.0, 1.5]), prompt=prompt)
        folded = FoldedTable(table, folds_of(table, seed))
        plain, polished = induce(folded, (0, 1)), induce_polished([folded], (0, 1))
        gaps.append((polished.losses.mean(axis=0) / plain.losses.mean(axis=0) - 1).mean())
    assert abs(np.mean(gaps)) < 0.02
