"""Logistic regression that begins at an estimate already there, out of fold."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.calibration import fit_logistic, log_loss, sigmoid
from adaptive_sd.decision.standard import Standard

FloatArray = NDArray[np.float64]

_PRECISIONS = (3.0, 30.0, 300.0, 3000.0)
_CHOICE_ROWS = 10_000
"""With more rows the prior hardly counts: its strength is chosen on so many of them."""
_ONE_STEP_FROM = 10_000
"""Rows above which weights without a fold are one Newton step away from those of all rows: what
further steps would change is of the order of 1 / num_rows squared."""


class LogisticFit(NamedTuple):
    """Weights of the log odds fitted on all rows, and chances by those fitted without a fold."""

    weights: FloatArray  # (num_features,)
    out_of_fold: FloatArray  # (num_rows,)


def fit_logistic_from(
    rows: FloatArray, quality: FloatArray, folds: NDArray[np.int64], *, start: int
) -> LogisticFit:
    """Fit `quality` (num_rows,) in [0, 1] on `rows` (num_rows, num_features), column 0 constant.

    The prior is that column `start` holds the right log odds and nothing else counts; how strong
    it is, is chosen by the log loss out of fold. Few rows so leave that estimate as it is.
    """
    standard = Standard.of(rows)
    inputs = standard.with_constant(rows)
    mean, scale = standard.mean[start - 1], standard.scale[start - 1]
    prior = np.zeros(rows.shape[1])
    prior[0] = mean
    if scale:  # slope 1 on the column as it stands
        prior[start] = 1 / scale
    some = slice(None, None, -(-len(quality) // _CHOICE_ROWS))
    chosen = _choose(inputs[some], quality[some], folds[some], prior)
    fit = _fit(inputs, quality, folds, prior, chosen.strength, chosen.weights)
    weights = standard.weights(fit.weights[:1], fit.weights[1:, None])[:, 0]
    return LogisticFit(weights, fit.out_of_fold)


class _Choice(NamedTuple):
    """How strong the prior is, and the weights that it led to."""

    strength: float
    weights: FloatArray


def _choose(
    inputs: FloatArray, quality: FloatArray, folds: NDArray[np.int64], prior: FloatArray
) -> _Choice:
    """The least log loss out of fold; the first of equals."""
    tried: dict[float, _Choice] = {}
    weights = prior
    for strength in reversed(_PRECISIONS):
        fit = _fit(inputs, quality, folds, prior, strength, weights)
        weights = fit.weights
        tried.setdefault(log_loss(fit.out_of_fold, quality), _Choice(strength, weights))
    return tried[min(tried)]


def _fit(
    inputs: FloatArray,
    quality: FloatArray,
    folds: NDArray[np.int64],
    prior: FloatArray,
    strength: float,
    start: FloatArray,
) -> LogisticFit:
    """Without a fold the weights are near those of all rows: each search begins there."""
    precision = np.full(len(prior), strength)
    weights = fit_logistic(inputs, quality, mean=prior, precision=precision, start=start)
    p = sigmoid(inputs @ weights)
    members = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
    curvatures = [(inputs[m].T * (p[m] * (1 - p[m]))) @ inputs[m] for m in members]
    total = sum(curvatures) + np.diag(precision)
    chances = np.empty(len(quality))
    for member, curvature in zip(members, curvatures, strict=True):
        if len(quality) > _ONE_STEP_FROM:
            gradient = inputs[member].T @ (p[member] - quality[member])
            left_out = weights + np.linalg.solve(total - curvature, gradient)
        else:
            counts = np.ones(len(quality))
            counts[member] = 0.0
            left_out = fit_logistic(
                inputs,
                quality,
                mean=prior,
                precision=precision,
                weight=counts,
                start=weights,
                curvature=total - curvature,
            )
        chances[member] = sigmoid(inputs[member] @ left_out)
    return LogisticFit(weights, chances)
