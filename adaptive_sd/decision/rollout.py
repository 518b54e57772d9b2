"""Fitted policies followed on a whole table at once: as `decide`, row by row."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.guarded import GuardedPolicy
from adaptive_sd.decision.induced import InducedPolicy, later_stages, returned_index
from adaptive_sd.decision.induction import FitTable
from adaptive_sd.decision.policies import ThresholdPolicy

FloatArray = NDArray[np.float64]


class Rollout(NamedTuple):
    """What a policy brings about on each prompt."""

    quality: FloatArray  # (num_prompts,)
    cost: FloatArray
    stage: NDArray[np.int64]  # the stage returned
    num_run: NDArray[np.int64]


def roll_out(policy: GuardedPolicy, table: FitTable, lam: float) -> Rollout:
    """At one lambda; features of the table are taken as live ones."""
    chain = policy.chain_at(lam)
    if chain is None:
        return roll_out_induced(policy.induced, table, lam)
    return roll_out_chain(chain, table)


def roll_out_chain(chain: ThresholdPolicy, table: FitTable) -> Rollout:
    num_prompts = len(table.quality)
    going = np.ones(num_prompts, dtype=bool)
    found = _nothing_run(num_prompts)
    for place, stage in enumerate(chain.stages):
        found.cost[:] += np.where(going, table.cost_of(stage, chain.stages[:place]), 0.0)
        found.num_run[going] += 1
        stops = going.copy()
        if place < len(chain.thresholds):
            stops &= table.estimates[:, stage] >= chain.thresholds[place]
        found.quality[stops] = table.quality[stops, stage]
        found.stage[stops] = stage
        going &= ~stops
    return found


def roll_out_induced(policy: InducedPolicy, table: FitTable, lam: float) -> Rollout:
    num_prompts = len(table.quality)
    result = _nothing_run(num_prompts)
    _visit(policy, table, lam, (), np.arange(num_prompts), result)
    return result


def _nothing_run(num_prompts: int) -> Rollout:
    return Rollout(
        np.zeros(num_prompts),
        np.zeros(num_prompts),
        np.zeros(num_prompts, dtype=np.int64),
        np.zeros(num_prompts, dtype=np.int64),
    )


def _visit(
    policy: InducedPolicy,
    table: FitTable,
    lam: float,
    held: tuple[int, ...],
    rows: NDArray[np.int64],
    result: Rollout,
) -> None:
    values = policy.values(held, table.state(held, rows), lam)
    later = later_stages(held, policy.stages)
    stops = np.zeros(len(rows), dtype=bool)
    if held:
        least = values.values_go[:, :, 0].min(axis=1, initial=np.inf)
        stops = values.value_stop[:, 0] <= least
        returned = np.asarray(held)[returned_index(values.stop_quality)][stops]
        result.stage[rows[stops]] = returned
        result.quality[rows[stops]] = table.quality[rows[stops], returned]
        result.num_run[rows[stops]] = len(held)
    for place, stage in enumerate(later):
        chosen = rows[~stops & (values.values_go[:, :, 0].argmin(axis=1) == place)]
        if len(chosen):
            result.cost[chosen] += table.cost_of(stage, held)[chosen]
            _visit(policy, table, lam, (*held, stage), chosen, result)
