"""Standardised features, and weights of them as weights of the features themselves."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


class Standard(NamedTuple):
    """Of rows whose first feature is the constant 1, which is left out here."""

    mean: FloatArray  # (num_features - 1,)
    scale: FloatArray  # the same; 0 where a feature does not vary

    @classmethod
    def of(cls, rows: FloatArray) -> Self:
        mean, deviation = rows[:, 1:].mean(axis=0), rows[:, 1:].std(axis=0)
        varies = deviation > 1e-9 * np.maximum(1.0, np.abs(mean))
        return cls(mean, np.where(varies, 1 / np.where(varies, deviation, 1.0), 0.0))

    def rows(self, rows: FloatArray) -> FloatArray:
        """Of zero mean and unit deviation, (num_rows, num_features - 1)."""
        standard: FloatArray = (rows[:, 1:] - self.mean) * self.scale
        return standard

    def with_constant(self, rows: FloatArray) -> FloatArray:
        """As `rows`, after the constant: (num_rows, num_features)."""
        return np.insert(self.rows(rows), 0, 1.0, axis=1)

    def weights(self, intercept: FloatArray, slopes: FloatArray) -> FloatArray:
        """(num_features, num_outputs), of the (num_features - 1, num_outputs) of `rows`."""
        slopes = slopes * self.scale[:, None]
        return np.concatenate([(intercept - self.mean @ slopes)[None], slopes])
