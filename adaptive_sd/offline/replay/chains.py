"""Threshold chains: the first draft that its own predictor finds good enough is returned."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from adaptive_sd.decision.chains import chains_of
from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.policies import ThresholdPolicy
from adaptive_sd.decision.rollout import roll_out_chain
from adaptive_sd.offline.replay.dials import MAX_POINTS, Dials, Run, single_stages
from adaptive_sd.offline.replay.front import front
from adaptive_sd.offline.replay.halves import Halves

_FRUGAL_STAGES = 3


def run_chain(table: FitTable, chain: ThresholdPolicy) -> Run:
    rolled = roll_out_chain(chain, table)
    return Run(rolled.quality, rolled.cost, (rolled.num_run > 1).astype(np.float64))


def label(chain: ThresholdPolicy, names: Sequence[str]) -> str:
    steps = [
        f"{names[stage]} >= {threshold:.3f}"
        for stage, threshold in zip(chain.stages, chain.thresholds, strict=False)
    ]
    return ", ".join([*steps, names[chain.stages[-1]]])


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


def _on_front(halves: Halves, candidates: Iterator[ThresholdPolicy]) -> Dials:
    """The settings on the fit half's front, and the single stages."""
    single = single_stages(halves.fit, halves.test, halves.names)
    chains = [c for c in candidates if c.thresholds]
    if not chains:
        return single
    cost, quality = np.array([run_chain(halves.fit, chain).mean for chain in chains]).T
    kept = front(cost, quality, MAX_POINTS - len(single.labels))
    chosen = [chains[place] for place in kept]
    labels = [label(chain, halves.names) for chain in chosen]
    fit = [run_chain(halves.fit, chain).mean for chain in chosen]
    test = [run_chain(halves.test, chain) for chain in chosen]
    return single.plus(Dials.of(labels, fit, test))
