"""Paired bootstrap over prompts: the same prompts are drawn for both sides."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.calibration import Interval

FloatArray = NDArray[np.float64]


def paired_difference(
    ours: FloatArray, theirs: FloatArray, *, rng: np.random.Generator, num_resamples: int = 2000
) -> Interval:
    """mean(ours) - mean(theirs) over the same prompts, shape (num_prompts,) each."""
    return paired_bootstrap(ours, theirs, lambda a, b: a - b, rng=rng, num_resamples=num_resamples)


def ratio_of_means(
    ours: FloatArray, theirs: FloatArray, *, rng: np.random.Generator, num_resamples: int = 2000
) -> Interval:
    """mean(ours) / mean(theirs) over the same prompts, shape (num_prompts,) each."""
    return paired_bootstrap(ours, theirs, lambda a, b: a / b, rng=rng, num_resamples=num_resamples)


def paired_bootstrap(
    ours: FloatArray,
    theirs: FloatArray,
    statistic: Callable[[FloatArray, FloatArray], FloatArray],
    *,
    rng: np.random.Generator,
    num_resamples: int = 2000,
) -> Interval:
    """`statistic` of the two means, with its 95 % percentile interval; nan without prompts."""
    if not len(ours):
        return Interval(float("nan"), float("nan"), float("nan"))
    both = np.stack([ours, theirs])
    drawn = np.array(
        [both[:, rng.integers(0, len(ours), len(ours))].mean(axis=1) for _ in range(num_resamples)]
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        values = statistic(drawn[:, 0], drawn[:, 1])
        value = statistic(*both.mean(axis=1))
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(float(value), float(low), float(high))
