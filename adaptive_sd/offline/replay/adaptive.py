"""The fitted policy at all its lambdas, and its control: the same paths, drawn by chance."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.artifact import Artifact
from adaptive_sd.decision.guarded import GuardedPolicy
from adaptive_sd.decision.induction import FitTable
from adaptive_sd.decision.policy_fit import PolicyFit
from adaptive_sd.decision.rollout import roll_out, roll_out_all
from adaptive_sd.offline.replay.dials import MAX_POINTS, Dials, Run, run_single, single_stages
from adaptive_sd.offline.replay.halves import Halves

FloatArray = NDArray[np.float64]


_PLACING_PROMPTS = 5000
_ROLLED_AT_ONCE = 12
_FIRST_LAMS = 12
_LEAST_STEP = 1e-3
"""In log lambda: a jump in cost is not looked into any closer."""


def adaptive(halves: Halves, fitted: PolicyFit) -> Dials:
    """Each lambda, and the single stages; seen out of fold is what lies between the grid's."""
    single = single_stages(halves.fit, halves.test, halves.names)
    policy = fitted.policy
    lams = spread_lams(policy, halves.fit, MAX_POINTS - len(single.labels))
    seen = [fitted.seen_at(lam) for lam in lams]
    runs = run_adaptive(policy, halves.test, lams)
    return single.plus(Dials.of(lams, [(s.cost, s.quality) for s in seen], runs))


def adaptive_of(artifact: Artifact, table: FitTable, placed_on: FitTable) -> Dials:
    """An artifact fitted elsewhere; its recommended lambda is the one chosen.

    The others are placed by what they cost on some prompts of `placed_on`.
    """
    names = [stage.name for stage in artifact.stages]
    some = np.unique(np.linspace(0, len(placed_on.quality) - 1, _PLACING_PROMPTS).astype(int))
    placed = spread_lams(artifact.policy, placed_on.take(some), MAX_POINTS - len(names) - 1)
    lams = sorted({*placed, artifact.recommended_lam})
    unseen = [(np.nan, np.nan)] * (len(names) + len(lams))
    singles = (run_single(table, k) for k in range(len(names)))
    runs = itertools.chain(singles, run_adaptive(artifact.policy, table, lams))
    chosen = len(names) + lams.index(artifact.recommended_lam)
    return replace(Dials.of([*names, *lams], unseen, runs), chosen=chosen)


def spread_lams(policy: GuardedPolicy, table: FitTable, count: int) -> list[float]:
    """Positive lambdas, spread by what following the policy on the table costs."""
    low, high = (float(lam) for lam in policy.lam_grid[[1, -1]])
    return spread(lambda lam: float(roll_out(policy, table, lam).cost.mean()), low, high, count)


def spread(cost_of: Callable[[float], float], low: float, high: float, count: int) -> list[float]:
    """Lambdas between which the cost changes by steps as even as may be: the widest is halved.

    A policy may change its first stage on most prompts within a small range of lambda.
    """
    lams = [min(lam, high) for lam in np.geomspace(low, high, min(_FIRST_LAMS, count)).tolist()]
    costs = [cost_of(lam) for lam in lams]
    while len(lams) < count:
        steps = np.abs(np.diff(costs)) * (np.diff(np.log(lams)) > _LEAST_STEP)
        widest = int(steps.argmax())
        if not steps[widest]:
            break
        middle = float(np.sqrt(lams[widest] * lams[widest + 1]))
        lams.insert(widest + 1, middle)
        costs.insert(widest + 1, cost_of(middle))
    return lams


def run_adaptive(policy: GuardedPolicy, table: FitTable, lams: Sequence[float]) -> Iterator[Run]:
    """At each lambda."""
    for first in range(0, len(lams), _ROLLED_AT_ONCE):
        rolled = roll_out_all(policy, table, lams[first : first + _ROLLED_AT_ONCE])
        for quality, cost, _, num_run in zip(*(side.T for side in rolled), strict=True):
            yield Run(quality, cost, (num_run > 1).astype(np.float64))


def random(halves: Halves, policy: GuardedPolicy, lams: Sequence[float]) -> Dials:
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


def follow(policy: GuardedPolicy, table: FitTable, lam: float) -> list[Path]:
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
