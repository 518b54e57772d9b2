"""Paired bootstrap over prompts: the same prompts are drawn for both sides."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.calibration import Interval

FloatArray = NDArray[np.float64]


def paired_difference(
    ours: FloatArray, theirs: FloatArray, *, rng: np.random.Generator, num_resamples: int = 2000
) -> Interval:
    """mean(ours) - mean(theirs) over the same prompts, shape (num_prompts,) each."""
    return paired_bootstrap([ours, theirs], np.subtract, rng=rng, num_resamples=num_resamples)


def ratio_of_means(
    ours: FloatArray, theirs: FloatArray, *, rng: np.random.Generator, num_resamples: int = 2000
) -> Interval:
    """mean(ours) / mean(theirs) over the same prompts, shape (num_prompts,) each."""
    return paired_bootstrap([ours, theirs], np.divide, rng=rng, num_resamples=num_resamples)


def ratio_of_rates(
    ours: FloatArray,
    our_counts: FloatArray,
    theirs: FloatArray,
    their_counts: FloatArray,
    *,
    rng: np.random.Generator,
) -> Interval:
    """(ours over its counts) / (theirs over theirs), each summed over the same prompts."""

    def ratio(a: FloatArray, n: FloatArray, b: FloatArray, m: FloatArray) -> FloatArray:
        return (a / n) / (b / m)

    return paired_bootstrap([ours, our_counts, theirs, their_counts], ratio, rng=rng)


def paired_bootstrap(
    columns: Sequence[FloatArray],
    statistic: Callable[..., FloatArray],
    *,
    rng: np.random.Generator,
    num_resamples: int = 2000,
) -> Interval:
    """`statistic` of the columns' means, with its 95 % percentile interval; nan without prompts."""
    stacked = np.stack(columns)
    count = stacked.shape[1]
    if not count:
        return Interval(float("nan"), float("nan"), float("nan"))
    drawn = np.array(
        [stacked[:, rng.integers(0, count, count)].mean(axis=1) for _ in range(num_resamples)]
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        values = statistic(*drawn.T)
        value = statistic(*stacked.mean(axis=1))
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(float(value), float(low), float(high))
