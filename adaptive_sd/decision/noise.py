"""Whether a mean difference is more than luck."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

NOISE = 1.64
"""Standard errors that a difference has to exceed: one-sided 95 %."""


def noise_among(num_tried: int) -> float:
    """Standard errors that by luck hardly the largest of so many differences exceeds.

    By Bonferroni: one-sided 95 % for all of them.
    """
    return NormalDist().inv_cdf(1 - 0.05 / num_tried)


def noise_units(
    losses: FloatArray, others: FloatArray, group: NDArray[np.int64] | None
) -> FloatArray:
    """Mean difference over prompts, the first axis, in standard errors.

    Rounding of single precision counts as noise too.
    """
    difference = losses - others
    error = standard_error(difference, group) + 1e-5 * others.mean(axis=0) + 1e-12
    units: FloatArray = difference.mean(axis=0) / error
    return units


def standard_error(values: FloatArray, group: NDArray[np.int64] | None) -> FloatArray:
    """Of the mean over prompts, the first axis; prompts of one group count together."""
    apart = values - values.mean(axis=0)
    if group is not None:
        _, numbers = np.unique(group, return_inverse=True)
        by_prompt = apart
        apart = np.zeros((int(numbers.max()) + 1, *values.shape[1:]))
        np.add.at(apart, numbers, by_prompt)
    error: FloatArray = np.sqrt((apart**2).sum(axis=0) / len(values)) / np.sqrt(len(values))
    return error
