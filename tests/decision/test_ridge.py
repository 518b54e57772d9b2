"""Folded ridge equals refitting scikit-learn's on the other folds, and the closed form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from adaptive_sd.decision.folds import make_folds
from adaptive_sd.decision.ridge import FoldedRidge

STRENGTHS = np.logspace(-2, 5, 15)


def problem(
    seed: int, num_rows: int = 60, width: int = 5, noise: float = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows led by a 1, seven outputs, and folds."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(num_rows, width)) * 10.0 ** rng.integers(-2, 3, size=width)
    weights = rng.normal(size=(width, 7)) / features.std(axis=0)[:, None]
    targets = 3.0 + features @ weights + noise * rng.normal(size=(num_rows, 7))
    rows = np.concatenate([np.ones((num_rows, 1)), features], axis=1)
    return rows, targets, make_folds(num_rows, 5, rng=rng)


def standardised(rows: np.ndarray) -> np.ndarray:
    return (rows[:, 1:] - rows[:, 1:].mean(axis=0)) / rows[:, 1:].std(axis=0)


def cross_validation_errors(rows: np.ndarray, targets: np.ndarray, strength: float) -> np.ndarray:
    """Generalised, by the hat matrix; each output as a share of its own variance."""
    centred = rows - rows.mean(axis=0)
    inner = centred.T @ centred + strength * np.eye(rows.shape[1])
    hat = centred @ np.linalg.solve(inner, centred.T) + 1 / len(rows)
    misfit = ((targets - hat @ targets) ** 2).sum(axis=0)
    spread = ((targets - targets.mean(axis=0)) ** 2).sum(axis=0)
    errors: np.ndarray = misfit / spread / (1 - np.trace(hat) / len(rows)) ** 2
    return errors


def strengths_of(rows: np.ndarray, targets: np.ndarray) -> list[float]:
    """Of each output, by the errors of itself and two neighbours on each side."""
    errors = np.array([cross_validation_errors(rows, targets, s) for s in STRENGTHS])
    last = errors.shape[1] - 1
    chosen = []
    for output in range(last + 1):
        around = [min(max(output + step, 0), last) for step in (-2, -1, 0, 1, 2)]
        chosen.append(float(STRENGTHS[errors[:, around].sum(axis=1).argmin()]))
    return chosen


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.1, 1.0, 5.0]))
def test_each_fold_is_predicted_by_a_ridge_fitted_on_the_others(seed: int, noise: float) -> None:
    rows, targets, folds = problem(seed, noise=noise)
    found = FoldedRidge(rows, folds).fit(targets).out_of_fold
    inputs = standardised(rows)
    for fold in range(5):
        others = folds != fold
        strengths = strengths_of(inputs[others], targets[others])
        refitted = Ridge(alpha=strengths).fit(inputs[others], targets[others])
        np.testing.assert_allclose(
            found[~others], refitted.predict(inputs[~others]), rtol=1e-6, atol=1e-6
        )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31))
def test_weights_are_the_closed_form_on_all_rows(seed: int) -> None:
    rows, targets, folds = problem(seed)
    weights = FoldedRidge(rows, folds).fit(targets).weights
    inputs = standardised(rows)
    slopes = [
        np.linalg.solve(inputs.T @ inputs + strength * np.eye(5), inputs.T @ target)
        for strength, target in zip(strengths_of(inputs, targets), targets.T, strict=True)
    ]
    wanted = inputs @ np.stack(slopes, axis=1) + targets.mean(axis=0)
    np.testing.assert_allclose(rows @ weights, wanted, rtol=1e-6, atol=1e-6)


def test_a_row_is_predicted_without_its_own_target() -> None:
    rows, targets, folds = problem(0)
    ridge = FoldedRidge(rows, folds)
    plain = ridge.fit(targets).out_of_fold
    changed = targets.copy()
    changed[folds == 2] += 100.0
    other = ridge.fit(changed).out_of_fold
    np.testing.assert_allclose(other[folds == 2], plain[folds == 2], rtol=1e-9)
    assert (np.abs(other - plain)[folds != 2] > 1e-3).all()


@pytest.mark.parametrize("unit", [1e-9, 1e9])
def test_units_of_the_targets_do_not_matter(unit: float) -> None:
    """Costs may be in dollars: the variance of a millionth of one is no rounding error."""
    rows, targets, folds = problem(0, num_rows=12, noise=5.0)
    plain, scaled = (FoldedRidge(rows, folds).fit(u * targets) for u in (1.0, unit))
    np.testing.assert_allclose(scaled.out_of_fold, unit * plain.out_of_fold, rtol=1e-6)
    np.testing.assert_allclose(scaled.weights, unit * plain.weights, rtol=1e-6)


def test_a_linear_target_is_found_and_a_constant_one_kept() -> None:
    rows, _, folds = problem(1, num_rows=400)
    slopes = np.array([0.0, 1.0, -2.0, 0.5, 0.0]) / rows[:, 1:].std(axis=0)
    linear = rows[:, 1:] @ slopes + 7.0
    for targets in (np.stack([linear, np.full(400, 4.0)], axis=1), np.full((400, 1), 4.0)):
        fit = FoldedRidge(rows, folds).fit(targets)
        np.testing.assert_allclose(fit.out_of_fold, targets, atol=2e-3)
        np.testing.assert_allclose(rows @ fit.weights, targets, atol=2e-3)


def test_features_that_do_not_vary_and_twins_do_no_harm() -> None:
    rows, targets, folds = problem(2)
    idle = np.concatenate([rows, np.full((60, 1), 0.3), np.zeros((60, 1))], axis=1)
    plain, with_idle = FoldedRidge(rows, folds).fit(targets), FoldedRidge(idle, folds).fit(targets)
    np.testing.assert_allclose(with_idle.out_of_fold, plain.out_of_fold, atol=1e-6)
    assert not with_idle.weights[-2:].any()
    twins = FoldedRidge(np.concatenate([rows, rows[:, 1:]], axis=1), folds).fit(targets)
    assert np.isfinite(twins.weights).all()
    np.testing.assert_allclose(twins.out_of_fold, plain.out_of_fold, atol=0.5)


def test_noise_with_more_features_than_rows_is_not_learned() -> None:
    rng = np.random.default_rng(3)
    rows = np.concatenate([np.ones((40, 1)), rng.normal(size=(40, 60))], axis=1)
    targets = rng.normal(size=(40, 1))
    found = FoldedRidge(rows, make_folds(40, 5, rng=rng)).fit(targets).out_of_fold
    assert np.mean((found - targets) ** 2) < 1.5 * targets.var()


def test_no_outputs_give_no_outputs() -> None:
    rows, targets, folds = problem(0)
    fit = FoldedRidge(rows, folds).fit(targets[:, :0])
    assert fit.weights.shape == (6, 0) and fit.out_of_fold.shape == (60, 0)
