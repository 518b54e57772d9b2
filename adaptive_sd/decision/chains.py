"""Threshold chains: all settings of one on a table."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.policies import ThresholdPolicy

NUM_QUANTILES = 13
_MAX_SETTINGS = 2500
"""Of thresholds for one chain: a long chain gets fewer quantiles at each of its stages."""


def chains_of(table: FitTable, stages: tuple[int, ...]) -> Iterator[ThresholdPolicy]:
    """One chain with each choice of thresholds from the quantiles of its stages' estimates."""
    num_thresholds = len(stages) - 1
    count = min(NUM_QUANTILES, max(2, int(_MAX_SETTINGS ** (1 / max(num_thresholds, 1)))))
    levels = [quantiles(table.told(stage), count) for stage in stages[:-1]]
    return (ThresholdPolicy(stages, thresholds) for thresholds in itertools.product(*levels))


def quantiles(estimates: NDArray[np.float64], count: int) -> list[float]:
    """Distinct inner quantiles; thresholds of 0 and 1 are the single stages."""
    inner = np.arange(1, count + 1) / (count + 1)
    return [float(v) for v in np.unique(np.quantile(estimates, inner))]
