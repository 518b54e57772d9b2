"""Threshold chains: the first draft that its own predictor finds good enough is returned."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.induction import FitTable
from adaptive_sd.offline.replay.dials import MAX_POINTS, Dials, Run, single_stages
from adaptive_sd.offline.replay.front import front
from adaptive_sd.offline.replay.halves import Halves

NUM_QUANTILES = 13
_MAX_SETTINGS = 2500
"""Of thresholds for one chain: a long chain gets fewer quantiles at each of its stages."""
_FRUGAL_STAGES = 3


class Chain(NamedTuple):
    """Stages in order, and one threshold fewer: the last one's draft is always returned."""

    stages: tuple[int, ...]
    thresholds: tuple[float, ...]

    def label(self, names: Sequence[str]) -> str:
        steps = [
            f"{names[stage]} >= {threshold:.3f}"
            for stage, threshold in zip(self.stages, self.thresholds, strict=False)
        ]
        return ", ".join([*steps, names[self.stages[-1]]])


def run_chain(table: FitTable, chain: Chain) -> Run:
    """As ThresholdPolicy does, for all prompts at once."""
    num_prompts = len(table.quality)
    going = np.ones(num_prompts, dtype=bool)
    escalated = np.zeros(num_prompts)
    quality, cost = np.zeros(num_prompts), np.zeros(num_prompts)
    for place, stage in enumerate(chain.stages):
        cost += np.where(going, table.cost_of(stage, chain.stages[:place]), 0.0)
        if place:
            escalated[going] = 1.0
        stops = going.copy()
        if place < len(chain.thresholds):
            stops &= table.estimates[:, stage] >= chain.thresholds[place]
        quality[stops] = table.quality[stops, stage]
        going &= ~stops
    return Run(quality, cost, escalated)


def quantiles(estimates: NDArray[np.float64], count: int) -> list[float]:
    """Distinct inner quantiles; thresholds of 0 and 1 are the single stages."""
    inner = np.arange(1, count + 1) / (count + 1)
    return [float(v) for v in np.unique(np.quantile(estimates, inner))]


def chains_of(table: FitTable, stages: tuple[int, ...]) -> Iterator[Chain]:
    """All settings of one chain."""
    num_thresholds = len(stages) - 1
    count = min(NUM_QUANTILES, max(2, int(_MAX_SETTINGS ** (1 / max(num_thresholds, 1)))))
    levels = [quantiles(table.estimates[:, stage], count) for stage in stages[:-1]]
    return (Chain(stages, thresholds) for thresholds in itertools.product(*levels))


def threshold_chain(halves: Halves) -> Dials:
    """The whole ladder, or one stage alone."""
    stages = range(halves.fit.num_stages)
    return _on_front(halves, chains_of(halves.fit, tuple(stages)))


def best_pair(halves: Halves) -> Dials:
    """Any two stages, or one alone."""
    pairs = itertools.combinations(range(halves.fit.num_stages), 2)
    return _on_front(halves, (c for pair in pairs for c in chains_of(halves.fit, pair)))


def frugal(halves: Halves) -> Dials:
    """After FrugalGPT (arXiv 2305.05176): up to three stages, chosen together with thresholds.

    Its budget is the dial: for each, the best quality on the fit half. The scorer is the stage's
    predictor; the paper's is a language model fine-tuned for it.
    """
    subsets = (
        subset
        for size in range(2, _FRUGAL_STAGES + 1)
        for subset in itertools.combinations(range(halves.fit.num_stages), size)
    )
    return _on_front(halves, (c for subset in subsets for c in chains_of(halves.fit, subset)))


def _on_front(halves: Halves, candidates: Iterator[Chain]) -> Dials:
    """The settings on the fit half's front, and the single stages."""
    single = single_stages(halves.fit, halves.test, halves.names)
    chains = [c for c in candidates if c.thresholds]
    if not chains:
        return single
    cost, quality = np.array([run_chain(halves.fit, chain).mean for chain in chains]).T
    kept = front(cost, quality, MAX_POINTS - len(single.labels))
    chosen = [chains[place] for place in kept]
    labels = [chain.label(halves.names) for chain in chosen]
    fit = [run_chain(halves.fit, chain).mean for chain in chosen]
    test = [run_chain(halves.test, chain) for chain in chosen]
    return single.plus(Dials.of(labels, fit, test))
