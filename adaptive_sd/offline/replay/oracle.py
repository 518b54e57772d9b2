"""The oracle: knows every stage's outcome, and pays one stage only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.offline.replay.dials import MAX_POINTS, Dials, Run
from adaptive_sd.offline.replay.halves import Halves

FloatArray = NDArray[np.float64]


def oracle(halves: Halves) -> Dials:
    """For each prompt the stage of the highest quality - mu * cost; mu is the dial."""
    mus = [float(mu) for mu in prices(halves.test)]
    return Dials.of(
        mus,
        [run_oracle(halves.fit, mu).mean for mu in mus],
        [run_oracle(halves.test, mu) for mu in mus],
    )


def run_oracle(table: FitTable, mu: float) -> Run:
    chosen = np.argmax(table.quality - mu * table.cost, axis=1)
    rows = np.arange(len(chosen))
    return Run(table.quality[rows, chosen], table.cost[rows, chosen], np.zeros(len(chosen)))


def prices(table: FitTable) -> FloatArray:
    """One mu between any two at which some prompt's choice changes; evenly thinned."""
    pairs = [(i, j) for j in range(table.num_stages) for i in range(j)]
    first, second = [i for i, _ in pairs], [j for _, j in pairs]
    better = table.quality[:, second] - table.quality[:, first]
    dearer = table.cost[:, second] - table.cost[:, first]
    pays = better * dearer > 0
    changes = np.unique(better[pays] / dearer[pays])
    if not len(changes):
        return np.ones(1)
    mus = np.concatenate([[changes[0] / 2], (changes[1:] + changes[:-1]) / 2, [changes[-1] * 2]])
    if len(mus) > MAX_POINTS:
        mus = mus[np.linspace(0, len(mus) - 1, MAX_POINTS).round().astype(int)]
    return mus
