"""The fitted policy at all its lambdas, and its control: the same paths, drawn by chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.artifact import Artifact
from adaptive_sd.decision.induced import InducedPolicy
from adaptive_sd.decision.induction import FitTable, InductionFit
from adaptive_sd.decision.rollout import roll_out
from adaptive_sd.offline.replay.dials import MAX_POINTS, Dials, Run, single_stages
from adaptive_sd.offline.replay.halves import Halves

FloatArray = NDArray[np.float64]


def adaptive(halves: Halves, induction: InductionFit) -> Dials:
    """Each lambda, and the single stages.

    The lambdas are placed so that the cost seen out of fold grows by equal steps; what was seen
    there is interpolated between the grid's lambdas.
    """
    single = single_stages(halves.fit, halves.test, halves.names)
    policy = induction.policy
    grid = np.log(policy.lam_grid[1:])
    cost = induction.cost[:, 1:].mean(axis=0, dtype=np.float64)
    quality = induction.quality[:, 1:].mean(axis=0, dtype=np.float64)
    at = even_places(grid, cost, MAX_POINTS - len(single.labels))
    lams = np.minimum(np.exp(at), policy.lam_grid[-1]).tolist()
    seen = zip(np.interp(at, grid, cost), np.interp(at, grid, quality), strict=True)
    runs = [run_adaptive(policy, halves.test, lam) for lam in lams]
    return single.plus(Dials.of(lams, list(seen), runs))


def even_places(places: FloatArray, values: FloatArray, count: int) -> FloatArray:
    """Places, ascending, between which the running maximum of `values` grows by equal steps."""
    risen = np.maximum.accumulate(values)
    first = np.concatenate([[True], np.diff(risen) > 0])
    return np.unique(
        np.interp(np.linspace(risen[0], risen[-1], count), risen[first], places[first])
    )


def adaptive_of(artifact: Artifact, table: FitTable) -> Dials:
    """An artifact fitted elsewhere; its recommended lambda is the one chosen."""
    single = single_stages(table, table, [stage.name for stage in artifact.stages])
    grid, count = artifact.policy.lam_grid, MAX_POINTS - len(single.labels) - 1
    spaced = np.minimum(np.geomspace(grid[1], grid[-1], count), grid[-1])
    lams = np.unique([*spaced, artifact.recommended_lam]).tolist()
    runs = [run_adaptive(artifact.policy, table, lam) for lam in lams]
    unseen = [(np.nan, np.nan)] * len(lams)
    chosen = len(single.labels) + lams.index(artifact.recommended_lam)
    return replace(single.plus(Dials.of(lams, unseen, runs)), chosen=chosen)


def run_adaptive(policy: InducedPolicy, table: FitTable, lam: float) -> Run:
    rolled = roll_out(policy, table, lam)
    return Run(rolled.quality, rolled.cost, (rolled.num_run > 1).astype(np.float64))


def random(halves: Halves, policy: InducedPolicy, lams: Sequence[float]) -> Dials:
    """Paths drawn with the frequencies of the policy's: what that comes to in the mean.

    At each of the policy's lambdas; and the single stages, which are its points too.
    """
    fit, test = (
        [run_random(half, shares(follow(policy, half, lam))) for lam in lams]
        for half in (halves.fit, halves.test)
    )
    single = single_stages(halves.fit, halves.test, halves.names)
    return single.plus(Dials.of(lams, [run.mean for run in fit], test))


Path = tuple[tuple[int, ...], int]
"""The stages run, and the one whose draft is returned."""


def follow(policy: InducedPolicy, table: FitTable, lam: float) -> list[Path]:
    """The path of each prompt."""
    # What a stage costs changes no decision, and sums of powers of two tell which ones were paid.
    marks = np.broadcast_to(2.0 ** np.arange(table.num_stages), table.cost.shape)
    rolled = roll_out(policy, replace(table, cost=marks, cost_after=None), lam)
    return [
        (tuple(k for k in range(table.num_stages) if mark >> k & 1), stage)
        for mark, stage in zip(rolled.cost.astype(int).tolist(), rolled.stage.tolist(), strict=True)
    ]


def shares(paths: Sequence[Path]) -> dict[Path, float]:
    """The share of prompts on which each path is taken."""
    return {path: count / len(paths) for path, count in sorted(Counter(paths).items())}


def run_random(table: FitTable, share_of: dict[Path, float]) -> Run:
    num_prompts = len(table.quality)
    run = Run(np.zeros(num_prompts), np.zeros(num_prompts), np.zeros(num_prompts))
    for (stages, returned), share in share_of.items():
        run.quality[:] += share * table.quality[:, returned]
        for place, stage in enumerate(stages):
            run.cost[:] += share * table.cost_of(stage, stages[:place])
        run.escalated[:] += share * (len(stages) > 1)
    return run


def lams_of(dials: Dials) -> list[float]:
    """The settings of `adaptive` that are lambdas and no single stages."""
    return [label for label in dials.labels if isinstance(label, float)]
