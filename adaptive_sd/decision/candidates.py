"""Chooses among kinds of predictor by cross-validation; every estimate it reports is out of fold."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from adaptive_sd.decision.calibration import fit_calibration, soft_rows
from adaptive_sd.decision.features import NUM_STATISTICS
from adaptive_sd.decision.predictor import FittedPredictor, Network, fit_network, standardisation

FitNetwork = Callable[[NDArray[np.float32], NDArray[np.float64], int], Network]
"""From features (n, width), quality (n,) and a seed to a network."""


class PredictorFit(NamedTuple):
    """A predictor, its calibrated out-of-fold estimates (n,), and each candidate's Brier score."""

    predictor: FittedPredictor
    estimates: NDArray[np.float64]
    chosen: str
    brier: dict[str, float]


def _linear(num_inputs: int | None, strength: float) -> FitNetwork:
    """Logistic regression on the first `num_inputs` features, as a network of one layer."""

    def fit(x: NDArray[np.float32], quality: NDArray[np.float64], seed: int) -> Network:
        rows, labels, weight = soft_rows(x, quality)
        mean, scale = standardisation(rows, weight)
        weights = np.zeros((x.shape[1], 1), np.float32)
        used = slice(0, num_inputs)
        if len(np.unique(labels)) == 1:
            return Network(mean, scale, ((weights, np.full(1, 8.0 * (labels[0] - 0.5), "f4")),))
        model = LogisticRegression(C=strength, max_iter=500)
        model.fit(((rows - mean) / scale)[:, used], labels, sample_weight=weight)
        weights[used, 0] = model.coef_[0]
        return Network(mean, scale, ((weights, model.intercept_.astype(np.float32)),))

    return fit


def _perceptron(alpha: float) -> FitNetwork:
    def fit(x: NDArray[np.float32], quality: NDArray[np.float64], seed: int) -> Network:
        rows, labels, weight = soft_rows(x, quality)
        if len(np.unique(labels)) == 1:
            return _linear(None, 1.0)(x, quality, seed)
        return fit_network(rows, labels, weight, alpha=alpha, max_iter=40, seed=seed)[0]

    return fit


CANDIDATES: dict[str, FitNetwork] = {
    "logistic_statistics": _linear(NUM_STATISTICS, 0.1),
    "logistic_statistics_strong": _linear(NUM_STATISTICS, 0.01),
    "logistic_with_prompt": _linear(None, 0.003),
    "mlp": _perceptron(30.0),
}


def fit_predictor(
    x: NDArray[np.float32],
    quality: NDArray[np.float64],
    fold: NDArray[np.int64],
    *,
    seed: int,
    candidates: dict[str, FitNetwork] | None = None,
) -> PredictorFit:
    """Fit on features x (n, width) and quality (n,) in [0, 1]; `fold` (n,) numbers the folds.

    The candidate with the least out-of-fold Brier score wins; its out-of-fold logits give the
    calibration, and it is fitted again on all rows.
    """
    tried: dict[str, tuple[NDArray[np.float64], float]] = {}
    fits = CANDIDATES if candidates is None else candidates
    for name, fit in fits.items():
        logit = np.empty(quality.size)
        for k in np.unique(fold):
            out = fold == k
            logit[out] = fit(x[~out], quality[~out], seed).logits(x[out])
        estimate = _cross_calibrated(logit, quality, fold)
        tried[name] = (logit, float(np.mean((estimate - quality) ** 2)))
    chosen = min(tried, key=lambda name: tried[name][1])
    logit = tried[chosen][0]
    predictor = FittedPredictor(fits[chosen](x, quality, seed), fit_calibration(logit, quality))
    brier = {name: score for name, (_, score) in tried.items()}
    return PredictorFit(predictor, _cross_calibrated(logit, quality, fold), chosen, brier)


def _cross_calibrated(
    logit: NDArray[np.float64], quality: NDArray[np.float64], fold: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Calibrated estimates of each fold from the other folds' outcomes."""
    estimate = np.empty(quality.size)
    for k in np.unique(fold):
        out = fold == k
        estimate[out] = fit_calibration(logit[~out], quality[~out]).apply(logit[out])
    return estimate
