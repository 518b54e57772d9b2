"""Trains the candidate predictors; all of them become the same network."""

from __future__ import annotations

import itertools
import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from adaptive_sd.decision.calibration import Calibration
from adaptive_sd.decision.network import FittedPredictor

FloatArray = NDArray[np.float64]

_MIN_PASSES = 8
_MIN_STEPS = 400
_BATCH_ROWS = 64
_MANY_ROWS = 10_000


class Labelled(NamedTuple):
    """Rows with a hard label and a weight each."""

    features: FloatArray  # (num_rows, num_features)
    label: NDArray[np.int64]  # (num_rows,), 0 or 1
    weight: FloatArray  # (num_rows,)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way to fit: logistic where `hidden` is empty; `alpha` is the L2 penalty of the log loss.

    It sees the first `num_columns` features, or all with None.
    """

    name: str
    alpha: float
    hidden: tuple[int, ...] = ()
    num_columns: int | None = None


def soft_labels(features: NDArray[np.floating], quality: FloatArray) -> Labelled:
    """Each row counts as right with weight q and as wrong with weight 1 - q."""
    weight = np.concatenate([quality, 1 - quality])
    kept = weight > 0
    label = np.repeat([1, 0], len(quality))
    rows = np.concatenate([features, features]).astype(np.float64)
    return Labelled(rows[kept], label[kept], weight[kept])


def train(data: Labelled, candidate: Candidate, seed: int) -> FittedPredictor:
    """Fit one candidate; deterministic for a seed."""
    columns = np.arange(data.features.shape[1]) < (
        data.features.shape[1] if candidate.num_columns is None else candidate.num_columns
    )
    mean, scale = _moments(data)
    scale = np.where(columns, scale, 0.0)
    inputs = np.clip((data.features - mean) * scale, -6, 6)
    # One right and one wrong row at the mean: a class that is never seen keeps a small chance.
    prior = np.zeros((2, inputs.shape[1]))
    rows = Labelled(
        np.concatenate([inputs, prior]),
        np.concatenate([data.label, [0, 1]]),
        np.concatenate([data.weight, [0.5, 0.5]]),
    )
    fit = _fit_network if candidate.hidden else _fit_logistic
    with threadpool_limits(limits=1):  # threads cost more than they give, and change last digits
        weights, biases = fit(rows, candidate, seed)
    return FittedPredictor(mean, scale, weights, biases, Calibration())


def untrained(num_features: int, hidden: tuple[int, ...], seed: int) -> FittedPredictor:
    """A network with random weights, scaled so that its scores stay near those of a fitted one."""
    rng = np.random.default_rng(seed)
    widths = [num_features, *hidden, 1]
    weights = tuple(
        rng.normal(scale=np.sqrt(2 / fan_in), size=(fan_in, fan_out))
        for fan_in, fan_out in itertools.pairwise(widths)
    )
    biases = tuple(np.zeros(width) for width in widths[1:])
    return FittedPredictor(
        np.zeros(num_features), np.ones(num_features), weights, biases, Calibration()
    )


def _moments(data: Labelled) -> tuple[FloatArray, FloatArray]:
    """Weighted mean and reciprocal deviation; 0 for a feature that does not vary."""
    mean = np.average(data.features, axis=0, weights=data.weight)
    deviation = np.sqrt(np.average((data.features - mean) ** 2, axis=0, weights=data.weight))
    varies = deviation > 1e-7 * np.maximum(1.0, np.abs(mean))
    return mean, np.where(varies, 1 / np.where(varies, deviation, 1.0), 0.0)


Layers = tuple[tuple[FloatArray, ...], tuple[FloatArray, ...]]


def _fit_logistic(rows: Labelled, candidate: Candidate, seed: int) -> Layers:
    used = np.flatnonzero(rows.features.any(axis=0))
    weights = np.zeros((rows.features.shape[1], 1))
    if not len(used):
        right = np.average(rows.label, weights=rows.weight)
        return (weights,), (np.log([right / (1 - right)]),)
    model = LogisticRegression(C=1 / candidate.alpha, max_iter=1000)
    model.fit(rows.features[:, used], rows.label, sample_weight=rows.weight)
    weights[used, 0] = model.coef_[0]
    return (weights,), (model.intercept_,)


def _fit_network(rows: Labelled, candidate: Candidate, seed: int) -> Layers:
    num_rows = len(rows.label)
    batch = _BATCH_ROWS if num_rows <= _MANY_ROWS else 4 * _BATCH_ROWS
    model = MLPClassifier(
        candidate.hidden,
        alpha=candidate.alpha,
        learning_rate_init=0.003,
        batch_size=min(batch, num_rows),
        max_iter=max(_MIN_PASSES, -(-_MIN_STEPS * batch // num_rows)),
        random_state=seed,
    )
    with warnings.catch_warnings():
        # The number of passes is a limit on purpose; the penalty does the smoothing.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(rows.features, rows.label, sample_weight=rows.weight)
    return tuple(model.coefs_), tuple(model.intercepts_)
