"""The place of a lambda in the grid that a policy was fitted on."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.policies import check_lam
from adaptive_sd.errors import ConfigError

FloatArray = NDArray[np.float64]


def place_lam(grid: FloatArray, lam: float) -> tuple[int, int, float]:
    """The grid points around `lam`, and how far it is from the lower to the upper one.

    Raises ConfigError for a lambda outside the grid.
    """
    check_lam(lam)
    if lam > grid[-1]:
        raise ConfigError(
            f"lambda is {lam:g}; this artifact is fitted for 0 to {_rounded_down(grid[-1]):.4g}, "
            "where hardly any price is too high for a better answer; give one of these."
        )
    high = int(np.searchsorted(grid, lam))
    if grid[high] == lam:
        return high, high, 0.0
    if high == 1:
        return 0, 1, float(lam / grid[1])
    low = high - 1
    return low, high, math.log(lam / grid[low]) / math.log(grid[high] / grid[low])


def _rounded_down(lam: float) -> float:
    """To four digits, so that what an error names is not refused itself."""
    unit = 10.0 ** (math.floor(math.log10(lam)) - 3)
    return math.floor(lam / unit) * unit


def nearest_lam(grid: FloatArray, lam: float) -> int:
    """Place of the grid point nearest in log lambda; raises as `place_lam`."""
    low, high, share = place_lam(grid, lam)
    return low if share < 0.5 else high
