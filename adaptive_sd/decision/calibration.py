"""From a raw score to a probability, and how good probabilities are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
Metric = Callable[[FloatArray, FloatArray, FloatArray], float]
"""Of predictions, qualities and how often each row counts."""

_NO_STEP = 1e-8
_NO_MARGIN = 1e-12
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


def moved(probability: ArrayLike, shift: ArrayLike) -> FloatArray:
    """With `shift` added to its log odds; as it is, to the digit, where that is 0."""
    result: FloatArray = np.where(
        np.equal(shift, 0), probability, sigmoid(np.add(logit(probability, _NO_MARGIN), shift))
    )
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
    design: FloatArray,
    quality: FloatArray,
    *,
    mean: FloatArray,
    precision: FloatArray,
    weight: FloatArray | None = None,
    start: FloatArray | None = None,
    curvature: FloatArray | None = None,
) -> FloatArray:
    """Weights of a logistic regression with a normal prior on each: Newton's method.

    `design` has shape (num_rows, num_weights), `mean` and `precision` (num_weights,), `weight`
    (num_rows,) counts a row that often. It begins at `start`, else at `mean`; `curvature`
    (num_weights, num_weights) is the matrix of second derivatives near there, where it is known.
    """
    counts = np.ones(len(quality)) if weight is None else weight

    def loss(beta: FloatArray, odds: FloatArray) -> float:
        misfit = counts @ (np.logaddexp(0, odds) - quality * odds)
        return float(misfit + 0.5 * precision @ (beta - mean) ** 2)

    beta = mean if start is None else start
    odds = design @ beta
    before = loss(beta, odds)
    hessian, last_size = curvature, np.inf
    for _ in range(200):
        p = sigmoid(odds)
        gradient = design.T @ (counts * (p - quality)) + precision * (beta - mean)
        if hessian is None:
            hessian = (design.T * (counts * p * (1 - p))) @ design + np.diag(precision)
        step = np.linalg.solve(hessian, gradient)
        size = float(np.abs(step).max())
        odds_after = design @ (beta - step)
        after = loss(beta - step, odds_after)
        # where chances are all near 0 or 1 a whole step leads to the opposite extreme and back
        while after > before and np.abs(step).max() > _NO_STEP:
            step = step / 2
            odds_after = design @ (beta - step)
            after = loss(beta - step, odds_after)
        beta, odds, before = beta - step, odds_after, after
        if size < _NO_STEP:
            break
        if size > 0.2 * last_size:  # what the second derivatives were no longer helps
            hessian = None
        last_size = size
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

    def __format__(self, spec: str) -> str:
        """As "value [low, high]", each by `spec`; by default with three decimals."""
        value, low, high = (format(number, spec or ".3f") for number in self)
        return f"{value} [{low}, {high}]"


def mass_bins(mass: NDArray[np.number], num_bins: int = 10) -> NDArray[np.int64]:
    """The bin of each distinct prediction, ascending; `mass`: how often each counts.

    The bins are of equal mass; a prediction lies in that of its mid-rank.
    """
    middle = (np.cumsum(mass) - mass / 2) / mass.sum()
    bins: NDArray[np.int64] = np.minimum((num_bins * middle).astype(np.int64), num_bins - 1)
    return bins


def expected_calibration_error(
    p: ArrayLike, y: ArrayLike, weight: ArrayLike | None = None, num_bins: int = 10
) -> float:
    """Mean of |mean y - mean p| over bins of equal mass; equal predictions share a bin."""
    rows = _rows(p, y, weight)
    _, place = np.unique(rows.predicted, return_inverse=True)
    mass = np.bincount(place, weights=rows.weight)
    gap = np.bincount(place, weights=rows.weight * (rows.seen - rows.predicted))
    bins = mass_bins(mass, num_bins)
    return float(np.abs(np.bincount(bins, weights=gap)).sum() / mass.sum())


def brier_score(p: ArrayLike, y: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Mean squared error of the probability."""
    rows = _rows(p, y, weight)
    return float(np.average((rows.predicted - rows.seen) ** 2, weights=rows.weight))


def log_loss(p: ArrayLike, y: ArrayLike) -> float:
    """Mean cross-entropy in nats; `y` may lie between 0 and 1."""
    predicted, seen = np.asarray(p, dtype=np.float64), np.asarray(y, dtype=np.float64)
    safe = np.clip(predicted, 1e-6, 1 - 1e-6)
    return float(-np.mean(seen * np.log(safe) + (1 - seen) * np.log(1 - safe)))


def auc(p: ArrayLike, y: ArrayLike, weight: ArrayLike | None = None) -> float:
    """P(a right answer scores above a wrong one), ties count half; nan with one class only.

    Right means quality >= 0.5.
    """
    rows = _rows(p, y, weight)
    _, place = np.unique(rows.predicted, return_inverse=True)
    is_right = rows.seen >= 0.5
    right = np.bincount(place, weights=rows.weight * is_right)
    wrong = np.bincount(place, weights=rows.weight * ~is_right)
    pairs = right.sum() * wrong.sum()
    return float(right @ (np.cumsum(wrong) - wrong / 2) / pairs) if pairs else float("nan")


class _Rows(NamedTuple):
    predicted: FloatArray  # (num_rows,)
    seen: FloatArray
    weight: FloatArray


def _rows(p: ArrayLike, y: ArrayLike, weight: ArrayLike | None) -> _Rows:
    predicted, seen = np.asarray(p, dtype=np.float64), np.asarray(y, dtype=np.float64)
    counts = np.ones(len(predicted)) if weight is None else np.asarray(weight, dtype=np.float64)
    return _Rows(predicted, seen, counts)


_MANY_ROWS = 10_000


def bootstrap(
    metric: Metric,
    p: FloatArray,
    y: FloatArray,
    *,
    rng: np.random.Generator,
    groups: ArrayLike | None = None,
    num_resamples: int = 500,
    confidence: float = 0.95,
) -> Interval:
    """Percentile interval over resampled rows; resamples on which it is undefined are left out.

    The calibration error grows with noise, so that resamples have more of it than the rows: its
    interval is moved down by as much as their mean has more, to 0 at the lowest.

    Rows of one group (of one prompt) are drawn together. Of many rows those count as one that
    agree in p to three digits and in y to two.
    """
    value = metric(p, y, np.ones(len(p)))
    alike = _alike_rows(p, y) if len(p) > _MANY_ROWS else _each_row(p, y)
    weights = _resamples(alike, groups, rng)
    drawn = [metric(alike.p, alike.y, next(weights)) for _ in range(num_resamples)]
    defined = [v for v in drawn if math.isfinite(v)]
    if not defined:
        return Interval(value, float("nan"), float("nan"))
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    if metric is expected_calibration_error:
        low, high = np.maximum(0.0, np.array([low, high]) - (np.mean(defined) - value))
    return Interval(value, float(low), float(high))


class _Alike(NamedTuple):
    """Kinds of rows, and the kind of each row."""

    p: FloatArray  # (num_kinds,)
    y: FloatArray
    kind: NDArray[np.int64]  # (num_rows,)


def _each_row(p: FloatArray, y: FloatArray) -> _Alike:
    return _Alike(p, y, np.arange(len(p)))


def _alike_rows(p: FloatArray, y: FloatArray) -> _Alike:
    number = np.rint(1000 * p).astype(np.int64) * 101 + np.rint(100 * y).astype(np.int64)
    found, kind = np.unique(number, return_inverse=True)
    return _Alike(found // 101 / 1000, found % 101 / 100, kind)


def _resamples(
    alike: _Alike, groups: ArrayLike | None, rng: np.random.Generator
) -> Iterator[FloatArray]:
    """How often each kind of rows is drawn, again and again."""
    num_rows, num_kinds = len(alike.kind), len(alike.p)
    group = np.arange(num_rows) if groups is None else np.unique(groups, return_inverse=True)[1]
    num_groups = int(group.max(initial=-1)) + 1
    if num_groups == num_rows:  # each by itself: kinds are drawn by what share of the rows they are
        shares = np.bincount(alike.kind) / num_rows
        while True:
            yield rng.multinomial(num_rows, shares).astype(np.float64)
    while True:
        times = rng.multinomial(num_groups, np.full(num_groups, 1 / num_groups))
        yield np.bincount(alike.kind, times[group], num_kinds).astype(np.float64)
