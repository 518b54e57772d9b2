"""The fitted policy followed on a whole table at once: as `decide`, row by row."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.induced import InducedPolicy, later_stages, returned_index
from adaptive_sd.decision.induction import FitTable

FloatArray = NDArray[np.float64]

BATCH_PROMPTS = 8192
"""Prompts at once: what is made on the way stays small and near."""


class Rollout(NamedTuple):
    """What a policy brings about on each prompt."""

    quality: FloatArray  # (num_prompts,)
    cost: FloatArray
    stage: NDArray[np.int64]  # the stage returned
    num_run: NDArray[np.int64]


def roll_out(policy: InducedPolicy, table: FitTable, lam: float) -> Rollout:
    """Quality, cost and path length at one lambda; features of the table are taken as live ones."""
    num_prompts = len(table.quality)
    result = Rollout(
        np.zeros(num_prompts),
        np.zeros(num_prompts),
        np.zeros(num_prompts, dtype=np.int64),
        np.zeros(num_prompts, dtype=np.int64),
    )
    for start in range(0, num_prompts, BATCH_PROMPTS):
        rows = np.arange(start, min(start + BATCH_PROMPTS, num_prompts))
        _visit(policy, table, lam, (), rows, result)
    return result


def _visit(
    policy: InducedPolicy,
    table: FitTable,
    lam: float,
    held: tuple[int, ...],
    rows: NDArray[np.int64],
    result: Rollout,
) -> None:
    values = policy.values(held, table.state(held, rows), lam)
    later = later_stages(held, table.num_stages)
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
