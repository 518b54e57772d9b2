"""Of induction and the myopic rule, the one that loses less out of fold decides at each lambda."""

from __future__ import annotations

import numpy as np
import pytest

from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.folds import make_folds
from adaptive_sd.decision.induction import NUM_FOLDS, Fitting, induce_polished
from adaptive_sd.decision.loss import loss_of
from adaptive_sd.decision.state_fitting import FoldedTable
from adaptive_sd.decision.states import StateFit
from tests.decision.tables import roll_out_induced, table_of, wild_table


def folded(table: FitTable) -> FoldedTable:
    folds = make_folds(len(table.quality), NUM_FOLDS, rng=np.random.default_rng(0))
    return FoldedTable(table, folds)


def fitted(table: FitTable) -> tuple[Fitting, list[StateFit], list[StateFit]]:
    fitting = Fitting.begin(folded(table), range(table.num_stages))
    states = fitting.fit_states()
    return fitting, [s.ahead for s in states], [s.myopic for s in states]


def lost_by(fitting: Fitting, states: list[StateFit]) -> np.ndarray:
    """At each lambda, out of fold."""
    return fitting.follow_states(states).losses(fitting.grid).mean(axis=0)


@pytest.mark.parametrize("seed", range(4))
def test_over_all_lambdas_of_a_kind_the_chosen_one_loses_less(seed: int) -> None:
    """In the mean, as a share: neighbours choose together, so at one lambda it may lose more."""
    fitting, ahead, myopic = fitted(wild_table(120, 3, seed=seed).table)
    is_myopic = fitting.loses_less(myopic, ahead)
    saved = 1 - lost_by(fitting, myopic) / lost_by(fitting, ahead)
    assert is_myopic.any() and not is_myopic.all()
    assert saved[is_myopic].mean() > 0 > saved[~is_myopic].mean()


@pytest.mark.parametrize("seed", range(4))
def test_neither_loses_less_than_itself(seed: int) -> None:
    fitting, ahead, myopic = fitted(wild_table(60, 2, seed=seed).table)
    assert not fitting.loses_less(ahead, ahead).any()
    assert not fitting.loses_less(myopic, myopic).any()


def test_the_myopic_weights_are_those_that_decide() -> None:
    """Without polishing's shifts, which leave costs as they were."""
    table = wild_table(120, 3, seed=0).table
    found = induce_polished([folded(table)], range(3))
    _, ahead, myopic = fitted(table)
    num_lams = len(found.policy.lam_grid)
    for index, (state, other) in enumerate(zip(ahead, myopic, strict=True)):
        kept = found.policy.weights[index][:, len(state.held) :]
        cost = kept.reshape(len(kept), -1, 2, num_lams)[:, :, 1]
        wanted = np.where(found.is_myopic, other.weights[:, :, 1], state.weights[:, :, 1])
        np.testing.assert_allclose(cost, wanted, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_the_myopic_estimates_are_of_the_next_draft_alone(seed: int) -> None:
    """With evidence that tells nothing, means: of what a draft gains and costs."""
    rng = np.random.default_rng(seed)
    quality = (rng.random((4000, 2)) < [0.3, 0.7]).astype(float)
    _, _, myopic = fitted(table_of(quality, np.array([1.0, 4.0])))
    none, first, _, _ = myopic
    np.testing.assert_allclose(none.go[:, :, 0, 0].mean(axis=0), quality.mean(axis=0), atol=1e-3)
    np.testing.assert_allclose(none.go[:, :, 1, 0], np.tile([1.0, 4.0], (4000, 1)), atol=1e-6)
    gain = (quality[:, 1] - quality[:, 0]).mean()
    np.testing.assert_allclose(first.go[:, 0, 0, 0].mean(), gain, atol=1e-3)


def test_where_a_draft_has_to_be_seen_induction_decides() -> None:
    """The cheap stage is rarely better in the mean, and its draft tells when it is right."""
    rng = np.random.default_rng(0)
    is_easy = rng.random(3000) < 0.5
    quality = np.stack([is_easy.astype(float), np.ones(3000)], axis=1)
    estimates = np.stack([np.where(is_easy, 0.95, 0.05), np.full(3000, 0.95)], axis=1)
    table, lam = table_of(quality, np.array([1.0, 4.0]), estimates), 10.0
    found = induce_polished([folded(table)], range(2))
    rolled = roll_out_induced(found.policy, table, lam)
    at_once = loss_of(4.0, 1.0, lam)
    assert float(loss_of(rolled.cost, rolled.quality, lam).mean()) < 0.8 * at_once
