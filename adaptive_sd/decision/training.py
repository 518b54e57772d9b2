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
_MAX_STEPS = 1250
"""Of a network, as many as 8 passes over 10,000 rows: with more rows each is seen less often."""
_BATCH_ROWS = 64
_MANY_ROWS = 10_000
"""Above, batches are larger and a logistic regression goes by second derivatives."""
_LARGE_BATCH_ROWS = 512


class Labelled(NamedTuple):
    """Rows with a hard label and a weight each."""

    features: NDArray[np.floating]  # (num_rows, num_features)
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
    right, wrong = np.flatnonzero(quality > 0), np.flatnonzero(quality < 1)
    return Labelled(
        features[np.concatenate([right, wrong])],
        np.repeat([1, 0], [len(right), len(wrong)]),
        np.concatenate([quality[right], 1 - quality[wrong]]),
    )


def train(data: Labelled, candidate: Candidate, seed: int) -> FittedPredictor:
    """Fit one candidate; deterministic for a seed."""
    num_features = data.features.shape[1]
    mean, scale = np.zeros(num_features), np.zeros(num_features)
    seen = slice(candidate.num_columns)
    mean[seen], scale[seen] = _moments(data.features[:, seen], data.weight)
    used = np.flatnonzero(scale)
    inputs = np.clip((data.features[:, used] - mean[used]) * scale[used], -6, 6)
    # One right and one wrong row at the mean: a class that is never seen keeps a small chance.
    rows = Labelled(
        np.concatenate([inputs, np.zeros((2, len(used)))]),
        np.concatenate([data.label, [0, 1]]),
        np.concatenate([data.weight, [0.5, 0.5]]),
    )
    fit = _fit_network if candidate.hidden else _fit_logistic
    with threadpool_limits(limits=1):  # threads cost more than they give, and change last digits
        (narrow, *others), biases = fit(rows, candidate, seed)
    first = np.zeros((num_features, narrow.shape[1]))
    first[used] = narrow
    return FittedPredictor(mean, scale, (first, *others), biases, Calibration())


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


def _moments(features: NDArray[np.floating], weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weighted mean and reciprocal deviation; 0 for a feature that does not vary."""
    mean = np.average(features, axis=0, weights=weight)
    deviation = np.sqrt(np.average((features - mean) ** 2, axis=0, weights=weight))
    varies = deviation > 1e-7 * np.maximum(1.0, np.abs(mean))
    return mean, np.where(varies, 1 / np.where(varies, deviation, 1.0), 0.0)


Layers = tuple[tuple[FloatArray, ...], tuple[FloatArray, ...]]


def _fit_logistic(rows: Labelled, candidate: Candidate, seed: int) -> Layers:
    num_rows, num_features = rows.features.shape
    if not num_features:
        right = np.average(rows.label, weights=rows.weight)
        return (np.zeros((0, 1)),), (np.log([right / (1 - right)]),)
    model = LogisticRegression(
        C=1 / candidate.alpha,
        max_iter=1000,
        solver="lbfgs" if num_rows <= _MANY_ROWS else "newton-cholesky",
    )
    model.fit(rows.features, rows.label, sample_weight=rows.weight)
    return (model.coef_.T,), (model.intercept_,)


class Schedule(NamedTuple):
    """How often a network sees its rows, how many at a time, and what its penalty is times."""

    batch_rows: int
    num_passes: int
    penalty: float


def schedule_of(num_rows: int) -> Schedule:
    """Enough steps with few rows, no more than enough with many, which outweigh the penalty."""
    is_many = num_rows > _MANY_ROWS
    batch = _LARGE_BATCH_ROWS if is_many else _BATCH_ROWS
    least = max(_MIN_PASSES, -(-_MIN_STEPS * batch // num_rows))
    most = max(1, _MAX_STEPS * batch // num_rows)
    # scikit-learn adds the whole penalty to each batch: a row's share of it depends on the batch
    penalty = batch / _BATCH_ROWS * _MANY_ROWS / num_rows if is_many else 1.0
    return Schedule(min(batch, num_rows), min(least, most), penalty)


def _fit_network(rows: Labelled, candidate: Candidate, seed: int) -> Layers:
    num_rows, num_features = rows.features.shape
    if not num_features:
        return _fit_logistic(rows, candidate, seed)
    schedule = schedule_of(num_rows)
    model = MLPClassifier(
        candidate.hidden,
        alpha=candidate.alpha * schedule.penalty,
        learning_rate_init=0.003,
        batch_size=schedule.batch_rows,
        max_iter=schedule.num_passes,
        random_state=seed,
    )
    with warnings.catch_warnings():
        # The number of passes is a limit on purpose; the penalty does the smoothing.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(rows.features, rows.label, sample_weight=rows.weight)
    return tuple(model.coefs_), tuple(model.intercepts_)
