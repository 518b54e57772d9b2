"""Whether a mean difference is more than luck."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

NOISE = 1.64
"""Standard errors that a difference has to exceed: one-sided 95 %."""


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
