"""A policy at many lambdas: spread so that what it costs changes by even steps."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.induction import lam_grid
from adaptive_sd.offline.replay.dials import MAX_POINTS, Dials, Run, single_stages
from adaptive_sd.offline.replay.halves import Halves

FloatArray = NDArray[np.float64]

_FIRST_LAMS = 12
_LEAST_STEP = 1e-3
"""In log lambda: a jump in cost is not looked into any closer."""


def over_lams(
    halves: Halves,
    grid: FloatArray,
    *,
    cost_of: Callable[[float], float],
    seen: Callable[[Sequence[float]], Iterable[tuple[float, float]]],
    runs: Callable[[Sequence[float]], Iterable[Run]],
) -> Dials:
    """Each single stage, and positive lambdas within the ascending `grid`: MAX_POINTS at most.

    `cost_of` tells what one lambda costs on the fit half, by which they are placed; `seen` the mean
    cost and quality there by which a setting is chosen; `runs` what each does to the test half.
    """
    single = single_stages(halves.fit, halves.test, halves.names)
    low, high = grid[[1, -1]].tolist()
    lams = spread(cost_of, low, high, MAX_POINTS - len(single.labels))
    return single.plus(Dials.of(lams, list(seen(lams)), runs(lams)))


def rule_over_lams(
    halves: Halves, on_fit: Callable[[float], Run], on_test: Callable[[float], Run]
) -> Dials:
    """As `over_lams`, of a rule whose estimates on the fit half are out of fold."""
    seen_at = functools.cache(lambda lam: on_fit(lam).mean)
    return over_lams(
        halves,
        lam_grid(halves.fit.cost),
        cost_of=lambda lam: seen_at(lam)[0],
        seen=lambda lams: map(seen_at, lams),
        runs=lambda lams: map(on_test, lams),
    )


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


def lams_of(dials: Dials) -> list[float]:
    """The settings that are lambdas and no single stages."""
    return [label for label in dials.labels if isinstance(label, float)]
