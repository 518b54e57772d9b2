"""Whether a mean difference is more than luck."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

NOISE = 1.64
"""Standard errors that a difference has to exceed: one-sided 95 %."""


def noise_units(losses: FloatArray, others: FloatArray) -> FloatArray:
    """Mean difference over prompts, the first axis, in standard errors.

    Rounding of single precision counts as noise too.
    """
    difference = losses - others
    error = difference.std(axis=0) / np.sqrt(len(difference)) + 1e-5 * others.mean(axis=0) + 1e-12
    units: FloatArray = difference.mean(axis=0) / error
    return units
