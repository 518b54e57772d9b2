"""From a raw score to a probability, and how good probabilities are."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
Metric = Callable[[FloatArray, FloatArray], float]

ISOTONIC_FROM = 1000
"""Rows from which an isotonic calibration is worth its freedom."""


def sigmoid(logit: ArrayLike) -> FloatArray:
    """Without overflow at either end."""
    result: FloatArray = 0.5 * (1 + np.tanh(0.5 * np.asarray(logit, dtype=np.float64)))
    return result


def logit(probability: ArrayLike, margin: float = 1e-3) -> FloatArray:
    """Log odds, of a probability kept `margin` away from 0 and 1."""
    p = np.minimum(np.maximum(np.asarray(probability, dtype=np.float64), margin), 1 - margin)
    result: FloatArray = np.log(p / (1 - p))
    return result


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Platt's sigmoid(slope * score + intercept); or, with knots, lines between them.

    The knots are of an isotonic regression: `scores` ascending, `probabilities` not decreasing.
    """

    slope: float = 1.0
    intercept: float = 0.0
    scores: FloatArray | None = None  # (num_knots,)
    probabilities: FloatArray | None = None  # (num_knots,)

    def apply(self, scores: FloatArray) -> FloatArray:
        if self.scores is not None and self.probabilities is not None:
            result: FloatArray = np.interp(scores, self.scores, self.probabilities)
            return result
        return sigmoid(self.slope * scores + self.intercept)

    def apply_one(self, score: float) -> float:
        """As `apply`, for one score: arrays would take ten times as long."""
        if self.scores is not None and self.probabilities is not None:
            return float(np.interp(score, self.scores, self.probabilities))
        return 0.5 * (1 + math.tanh(0.5 * (self.slope * score + self.intercept)))

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        arrays: dict[str, NDArray[np.generic]] = {"platt": np.array([self.slope, self.intercept])}
        if self.scores is not None and self.probabilities is not None:
            arrays["knots"] = np.stack([self.scores, self.probabilities])
        return arrays

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.generic]]) -> Self:
        slope, intercept = (float(v) for v in arrays["platt"].astype(np.float64))
        if "knots" not in arrays:
            return cls(slope, intercept)
        scores, probabilities = arrays["knots"].astype(np.float64)
        return cls(slope, intercept, scores, probabilities)


def fit_calibration(scores: FloatArray, quality: FloatArray) -> Calibration:
    """Platt with few rows, isotonic with many; `quality` in [0, 1] counts as soft labels."""
    return (
        fit_platt(scores, quality) if len(scores) < ISOTONIC_FROM else fit_isotonic(scores, quality)
    )


def fit_platt(scores: FloatArray, quality: FloatArray) -> Calibration:
    """Weak priors (slope 1, intercept 0) keep it finite where classes separate."""
    design = np.stack([scores, np.ones_like(scores)], axis=1)
    slope, intercept = fit_logistic(
        design, quality, mean=np.array([1.0, 0.0]), precision=np.array([1.0, 0.1])
    )
    return Calibration(float(slope), float(intercept))


def fit_logistic(
    design: FloatArray, quality: FloatArray, *, mean: FloatArray, precision: FloatArray
) -> FloatArray:
    """Weights of a logistic regression with a normal prior on each: Newton's method.

    `design` has shape (num_rows, num_weights), `mean` and `precision` (num_weights,).
    """

    def loss(beta: FloatArray) -> float:
        odds = design @ beta
        misfit = (np.logaddexp(0, odds) - quality * odds).sum()
        return float(misfit + 0.5 * precision @ (beta - mean) ** 2)

    beta = mean
    for _ in range(100):
        p = sigmoid(design @ beta)
        gradient = design.T @ (p - quality) + precision * (beta - mean)
        hessian = (design.T * (p * (1 - p))) @ design + np.diag(precision)
        step = np.linalg.solve(hessian, gradient)
        # where chances are all near 0 or 1 a whole step leads to the opposite extreme and back
        while loss(beta - step) > loss(beta) and np.abs(step).max() > 1e-9:
            step = step / 2
        beta = beta - step
        if np.abs(step).max() < 1e-9:
            break
    return beta


def fit_isotonic(scores: FloatArray, quality: FloatArray) -> Calibration:
    """Non-decreasing steps as knots; an end block's mean claims no more than its rows can show."""
    from sklearn.isotonic import IsotonicRegression  # large, and only a fit needs it

    fitted = IsotonicRegression(out_of_bounds="clip").fit(scores, quality)
    knots = np.asarray(fitted.X_thresholds_, dtype=np.float64)
    levels = np.asarray(fitted.y_thresholds_, dtype=np.float64)
    lowest = int((scores <= knots[levels == levels[0]][-1]).sum())
    highest = int((scores >= knots[levels == levels[-1]][0]).sum())
    # neighbours of the end blocks bound them too: one row at an end must not flatten the others
    second = levels[levels > levels[0]].min(initial=1.0)
    last_but_one = levels[levels < levels[-1]].max(initial=0.0)
    floor = min(0.5 / (lowest + 1), second)
    ceiling = max(1 - 0.5 / (highest + 1), last_but_one)
    return Calibration(scores=knots, probabilities=np.clip(levels, floor, ceiling))


class Interval(NamedTuple):
    """A value with its bootstrap interval."""

    value: float
    low: float
    high: float


def mass_bins(predicted: FloatArray, num_bins: int = 10) -> NDArray[np.int64]:
    """The bin of each prediction: bins of equal mass, ascending; equal predictions share one."""
    edges = np.quantile(predicted, np.linspace(0, 1, num_bins + 1)[1:-1])
    return np.searchsorted(edges, predicted, side="right")


def expected_calibration_error(p: ArrayLike, y: ArrayLike, num_bins: int = 10) -> float:
    """Mean of |mean y - mean p| over bins of equal mass; equal predictions share a bin."""
    predicted, seen = np.asarray(p, dtype=np.float64), np.asarray(y, dtype=np.float64)
    gaps = np.bincount(mass_bins(predicted, num_bins), weights=seen - predicted)
    return float(np.abs(gaps).sum() / len(predicted))


def brier_score(p: ArrayLike, y: ArrayLike) -> float:
    """Mean squared error of the probability."""
    error = np.asarray(p, dtype=np.float64) - np.asarray(y, dtype=np.float64)
    return float(np.mean(error**2))


def log_loss(p: ArrayLike, y: ArrayLike) -> float:
    """Mean cross-entropy in nats; `y` may lie between 0 and 1."""
    predicted, seen = np.asarray(p, dtype=np.float64), np.asarray(y, dtype=np.float64)
    safe = np.clip(predicted, 1e-6, 1 - 1e-6)
    return float(-np.mean(seen * np.log(safe) + (1 - seen) * np.log(1 - safe)))


def auc(p: ArrayLike, y: ArrayLike) -> float:
    """P(a right answer scores above a wrong one), ties count half; nan with one class only.

    Right means quality >= 0.5.
    """
    predicted, right = np.asarray(p, dtype=np.float64), np.asarray(y, dtype=np.float64) >= 0.5
    num_right = int(right.sum())
    num_wrong = len(right) - num_right
    if not num_right or not num_wrong:
        return float("nan")
    _, place, counts = np.unique(predicted, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2  # mean rank of each tied group
    rank_sum = ranks[place][right].sum()
    return float((rank_sum - num_right * (num_right + 1) / 2) / (num_right * num_wrong))


def bootstrap(
    metric: Metric,
    p: FloatArray,
    y: FloatArray,
    *,
    rng: np.random.Generator,
    num_resamples: int = 500,
    confidence: float = 0.95,
) -> Interval:
    """Percentile interval over resampled rows; resamples on which it is undefined are left out."""
    drawn = [
        metric(p[rows], y[rows])
        for rows in (rng.integers(0, len(p), len(p)) for _ in range(num_resamples))
    ]
    defined = [value for value in drawn if math.isfinite(value)]
    if not defined:
        return Interval(metric(p, y), float("nan"), float("nan"))
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Interval(metric(p, y), float(low), float(high))
