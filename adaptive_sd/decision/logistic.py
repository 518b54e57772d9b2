"""Logistic regression that begins at an estimate already there, out of fold."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.calibration import fit_logistic, log_loss, sigmoid

FloatArray = NDArray[np.float64]

_PRECISIONS = (3.0, 30.0, 300.0, 3000.0)


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
    mean, scale = _moments(rows)
    inputs = (rows - mean) * scale
    inputs[:, 0] = 1.0
    prior = np.zeros(rows.shape[1])
    if scale[start]:  # slope 1 on the column as it stands
        prior[start], prior[0] = 1 / scale[start], mean[start]
    else:
        prior[0] = mean[start]
    tried = {p: _out_of_fold(inputs, quality, folds, prior, p) for p in _PRECISIONS}
    chosen = min(_PRECISIONS, key=lambda p: log_loss(tried[p], quality))
    weights = fit_logistic(inputs, quality, mean=prior, precision=np.full(len(prior), chosen))
    slopes = weights * scale
    slopes[0] = weights[0] - mean @ slopes
    return LogisticFit(slopes, tried[chosen])


def _moments(rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and reciprocal deviation; 0 for a column that does not vary, as the constant."""
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    varies = deviation > 1e-9 * np.maximum(1.0, np.abs(mean))
    return mean, np.where(varies, 1 / np.where(varies, deviation, 1.0), 0.0)


def _out_of_fold(
    inputs: FloatArray,
    quality: FloatArray,
    folds: NDArray[np.int64],
    prior: FloatArray,
    strength: float,
) -> FloatArray:
    chances = np.empty(len(quality))
    for fold in np.unique(folds):
        out = folds == fold
        weights = fit_logistic(
            inputs[~out], quality[~out], mean=prior, precision=np.full(len(prior), strength)
        )
        chances[out] = sigmoid(inputs[out] @ weights)
    return chances
