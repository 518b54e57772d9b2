"""A fitted ladder on each of several task sets, against always-largest."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.artifact import Artifact
from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.offline.replay.seen import seen_by
from adaptive_sd.offline.studies.sweep import SweepPoint, sweep_lambda


class SetResult(NamedTuple):
    """One set at one lambda. `largest` and `best` are (quality, cost) of single stages."""

    name: str
    num_prompts: int
    ladder: SweepPoint
    largest: tuple[float, float]
    best: tuple[float, float]
    oracle_quality: float  # of the best draft of any stage


def evaluate_sets(
    artifact: Artifact, table: OutcomeTable, lam: float, *, seed: int = 0
) -> list[SetResult]:
    """Every set of the column `dataset`, then all prompts as "all".

    Raises DataError for a table without it.
    """
    seen = seen_by(artifact, table)
    names = np.array([str(name) for name in table.complete("dataset")[:, 0]])
    everything = np.arange(len(names))
    groups = [(name, np.flatnonzero(names == name)) for name in sorted(set(names))]
    results = []
    for name, rows in [*groups, ("all", everything)]:
        (point,) = sweep_lambda(artifact, seen.take(rows), [lam], seed=seed)
        quality, cost = table.quality[rows].mean(axis=0), table.cost[rows].mean(axis=0)
        results.append(
            SetResult(
                name=name,
                num_prompts=len(rows),
                ladder=point,
                largest=(float(quality[-1]), float(cost[-1])),
                best=_best(quality, cost),
                oracle_quality=float(table.quality[rows].max(axis=1).mean()),
            )
        )
    return results


def _best(quality: NDArray[np.float64], cost: NDArray[np.float64]) -> tuple[float, float]:
    place = int(np.lexsort((cost, -quality))[0])
    return float(quality[place]), float(cost[place])
