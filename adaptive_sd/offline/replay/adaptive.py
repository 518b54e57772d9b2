"""The fitted policy at all its lambdas, and its control: the same paths, drawn by chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.guarded import GuardedPolicy
from adaptive_sd.decision.paths import Path, follow
from adaptive_sd.decision.policy_fit import PolicyFit
from adaptive_sd.decision.rollout import roll_out, roll_out_all
from adaptive_sd.offline.replay.dials import Dials, Run, single_stages
from adaptive_sd.offline.replay.halves import Halves
from adaptive_sd.offline.replay.over_lams import over_lams

FloatArray = NDArray[np.float64]


_PLACING_PROMPTS = 10_000
"""Prompts are enough to place lambdas by what these cost."""
_ROLLED_AT_ONCE = 12

Means = tuple[float, float]
"""Of cost and quality."""


def adaptive(halves: Halves, fitted: PolicyFit) -> Dials:
    """Seen out of fold is what lies between the lambdas of the fit's grid."""

    def seen(lams: Sequence[float]) -> Iterator[Means]:
        return ((found.cost, found.quality) for found in map(fitted.seen_at, lams))

    return _dials(halves, fitted.policy, seen)


def adaptive_of(policy: GuardedPolicy, halves: Halves) -> Dials:
    """A policy fitted on other prompts than those of the halves."""

    def seen(lams: Sequence[float]) -> Iterator[Means]:
        return (run.mean for run in run_adaptive(policy, halves.fit, lams))

    return _dials(halves, policy, seen)


def _dials(
    halves: Halves, policy: GuardedPolicy, seen: Callable[[Sequence[float]], Iterable[Means]]
) -> Dials:
    return over_lams(
        halves,
        policy.lam_grid,
        cost_of=cost_on(policy, halves.fit),
        seen=seen,
        runs=lambda lams: run_adaptive(policy, halves.test, lams),
    )


def cost_on(policy: GuardedPolicy, fit: FitTable) -> Callable[[float], float]:
    """What one lambda costs on the prompts of the fit, by which lambdas are placed."""
    last = len(fit.quality) - 1
    some = fit.take(np.unique(np.linspace(0, last, _PLACING_PROMPTS).astype(int)))
    return lambda lam: float(roll_out(policy, some, lam).cost.mean())


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


def shares(paths: Sequence[Path]) -> dict[Path, float]:
    """The share of prompts on which each path is taken."""
    return {path: count / len(paths) for path, count in sorted(Counter(paths).items())}


def run_random(table: FitTable, share_of: dict[Path, float]) -> Run:
    num_prompts = len(table.quality)
    run = Run(np.zeros(num_prompts), np.zeros(num_prompts), np.zeros(num_prompts))
    for path, share in share_of.items():
        run.quality[:] += share * table.quality[:, path.returned]
        for draft, offered in zip(path.drafts, (None, *path.drafts), strict=False):
            run.cost[:] += share * table.cost_to(draft, offered)
        run.escalated[:] += share * (len(path.drafts) > 1)
    return run
