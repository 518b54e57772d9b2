"""Dials at which one stage alone answers every prompt, since no more can be said for the policy."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.guarded import GuardedPolicy
from adaptive_sd.decision.lams import nearest_lam
from adaptive_sd.decision.loss import loss_of
from adaptive_sd.decision.policies import ThresholdPolicy
from adaptive_sd.decision.policy_fit import Means, PolicyFit, margin_of

FloatArray = NDArray[np.float64]


def with_safest(found: PolicyFit, table: FitTable) -> PolicyFit:
    """At the last lambda of the grid, the stage that is best alone answers every prompt.

    What is promised of this dial rests on no estimate of the policy's. `table` was fitted on.
    """
    alone = table.quality.mean(axis=0)
    best = max(found.policy.stages, key=lambda stage: float(alone[stage]))
    return _with_alone(found, table, best, len(found.quality) - 1)


def with_sound_default(found: PolicyFit, table: FitTable) -> PolicyFit:
    """At the recommended lambda a stage answers alone if it costs no more, is no worse, and one of
    the two is better.

    Of several the one that loses least; what is recommended is then a point of the grid. `table`
    was fitted on.
    """
    grid = found.policy.lam_grid
    place = nearest_lam(grid, found.recommended_lam)
    cost, quality = table.cost.mean(axis=0), table.quality.mean(axis=0)
    lam, seen = float(grid[place]), found.seen_at(found.recommended_lam)
    at_most, at_least = min(found.cost[place], seen.cost), max(found.quality[place], seen.quality)
    losses = loss_of(cost, quality, lam)
    lost = loss_of(found.cost[place], found.quality[place], lam)
    dominant = [
        stage
        for stage in found.policy.stages
        if cost[stage] <= at_most and quality[stage] >= at_least and losses[stage] < lost
    ]
    if not dominant:
        return found
    best = min(dominant, key=lambda stage: float(losses[stage]))
    return _with_alone(found, table, best, place)._replace(recommended_lam=lam)


def _with_alone(found: PolicyFit, table: FitTable, stage: int, place: int) -> PolicyFit:
    """At one lambda of the grid this stage answers every prompt."""
    policy, is_stage = found.policy, np.arange(table.num_stages) == stage
    chains = list(policy.chains)
    chains[place] = ThresholdPolicy((stage,), ())
    quality, cost = table.quality[:, stage].mean(), table.cost[:, stage].mean()

    def changed(values: FloatArray, value: ArrayLike) -> FloatArray:
        values = values.copy()
        values[place] = value
        return values

    return found._replace(
        policy=GuardedPolicy(policy.induced, tuple(chains)),
        quality=changed(found.quality, quality),
        cost=changed(found.cost, cost),
        patient=found.patient
        and Means(changed(found.patient.quality, quality), changed(found.patient.cost, cost)),
        answer_share=changed(found.answer_share, is_stage),
        run_share=changed(found.run_share, is_stage),
        margin=changed(found.margin, margin_of(table.quality[:, [stage]], table)[0]),
    )
