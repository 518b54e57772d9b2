"""The regression that begins at an estimate already there."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from adaptive_sd.decision.calibration import fit_logistic, log_loss, sigmoid
from adaptive_sd.decision.logistic import fit_logistic_from

FOLDS = 5


def problem(
    num_rows: int, *, shift: float, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Column 2 holds log odds; column 1 moves the truth by `shift`; column 3 is noise."""
    rng = np.random.default_rng(seed)
    side = rng.integers(0, 2, num_rows).astype(float)
    odds = rng.normal(0, 1.5, num_rows)
    rows = np.stack([np.ones(num_rows), side, odds, rng.normal(size=num_rows)], axis=1)
    quality = (rng.random(num_rows) < sigmoid(odds + shift * (side - 0.5))).astype(float)
    return rows, quality, np.arange(num_rows) % FOLDS


def test_few_rows_leave_the_estimate_as_it_is() -> None:
    rows, quality, folds = problem(20, shift=0.0)
    fit = fit_logistic_from(rows, quality, folds, start=2)
    assert np.abs(sigmoid(rows @ fit.weights) - sigmoid(rows[:, 2])).max() < 0.15


@pytest.mark.parametrize("seed", range(4))
def test_evidence_that_counts_is_learned_and_noise_is_not(seed: int) -> None:
    rows, quality, folds = problem(4000, shift=3.0, seed=seed)
    fit = fit_logistic_from(rows, quality, folds, start=2)
    assert fit.weights[1] == pytest.approx(3.0, abs=0.4)
    assert fit.weights[2] == pytest.approx(1.0, abs=0.15)
    assert abs(fit.weights[3]) < 0.12
    assert log_loss(fit.out_of_fold, quality) < log_loss(sigmoid(rows[:, 2]), quality)


def test_chance_patterns_are_not_taken_for_evidence() -> None:
    """Sixty columns of noise on 120 rows could explain every label that they have seen."""
    rows, quality, folds = problem(120, shift=0.0)
    noise = np.random.default_rng(1).normal(size=(120, 60))
    fit = fit_logistic_from(np.concatenate([rows, noise], axis=1), quality, folds, start=2)
    start = log_loss(sigmoid(rows[:, 2]), quality)
    assert log_loss(fit.out_of_fold, quality) < start + 0.03


def test_of_many_rows_one_step_without_a_fold_is_as_good_as_a_search() -> None:
    rows, quality, folds = problem(10_001, shift=2.0)
    found = fit_logistic_from(rows, quality, folds, start=2).out_of_fold
    searched = np.empty(len(quality))
    for fold in range(FOLDS):
        seen = folds != fold
        weights = fit_logistic(rows[seen], quality[seen], mean=np.zeros(4), precision=np.zeros(4))
        searched[~seen] = sigmoid(rows[~seen] @ weights)
    assert np.abs(found - searched).max() < 1e-3
    of_all = fit_logistic(rows, quality, mean=np.zeros(4), precision=np.zeros(4))
    assert np.abs(sigmoid(rows @ of_all) - searched).max() > 5e-3


def test_columns_that_do_not_vary_are_harmless() -> None:
    rows, quality, folds = problem(200, shift=1.0)
    rows[:, 2], rows[:, 3] = 0.7, 5.0
    fit = fit_logistic_from(rows, quality, folds, start=2)
    assert np.isfinite(fit.weights).all() and np.isfinite(fit.out_of_fold).all()
    empty = fit_logistic_from(rows, np.ones(200), folds, start=2)
    assert 0.9 < sigmoid(rows @ empty.weights).min() <= 1
