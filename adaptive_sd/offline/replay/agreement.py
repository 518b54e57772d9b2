"""Agreement: the first answer that an earlier stage gave too is returned."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.offline.replay.dials import MAX_POINTS, Dials, Run
from adaptive_sd.offline.replay.front import front
from adaptive_sd.offline.replay.halves import Halves


def agreement(halves: Halves) -> Dials:
    """Nothing is fitted but which stages take part: the subsets on the fit half's front."""
    stages = range(halves.fit.num_stages)
    subsets = [
        subset
        for size in range(1, len(stages) + 1)
        for subset in itertools.combinations(stages, size)
    ]
    cost, quality = np.array([run_agreement(halves.fit, subset).mean for subset in subsets]).T
    chosen = [subsets[place] for place in front(cost, quality, MAX_POINTS)]
    labels = [", ".join(halves.names[stage] for stage in subset) for subset in chosen]
    fit = [run_agreement(halves.fit, subset).mean for subset in chosen]
    return Dials.of(labels, fit, [run_agreement(halves.test, subset) for subset in chosen])


def run_agreement(table: FitTable, stages: Sequence[int]) -> Run:
    """In order, until an answer agrees with any before it; else the last one is returned."""
    num_prompts = len(table.quality)
    going = np.ones(num_prompts, dtype=bool)
    quality, cost = np.zeros(num_prompts), np.zeros(num_prompts)
    for place, stage in enumerate(stages):
        cost += np.where(going, table.cost_of(stage, stages[:place]), 0.0)
        agrees = table.agreement[:, stage, list(stages[:place])].any(axis=1)
        stops = going & agrees if place < len(stages) - 1 else going.copy()
        quality[stops] = table.quality[stops, stage]
        going &= ~stops
    return Run(quality, cost, np.full(num_prompts, float(len(stages) > 1)))
