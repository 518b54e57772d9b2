"""Fitted policies followed on a whole table at once: as `decide`, row by row."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.guarded import GuardedPolicy
from adaptive_sd.decision.induced import InducedPolicy, later_stages, returned_index
from adaptive_sd.decision.policies import ThresholdPolicy

FloatArray = NDArray[np.float64]

BATCH_PROMPTS = 8192
"""Prompts at once: what is made on the way stays small and near."""


class Rollout(NamedTuple):
    """What a policy brings about: shape (num_prompts,), at many lambdas (num_prompts, num_lams)."""

    quality: FloatArray
    cost: FloatArray
    stage: NDArray[np.int8]  # the stage returned
    num_run: NDArray[np.int8]


def roll_out(policy: GuardedPolicy, table: FitTable, lam: float) -> Rollout:
    """At one lambda; features of the table are taken as live ones."""
    return _at((slice(None), 0), roll_out_all(policy, table, [lam]))


def roll_out_all(
    policy: GuardedPolicy,
    table: FitTable,
    lams: Sequence[float],
    num_at_once: int = BATCH_PROMPTS,
) -> Rollout:
    """At each lambda, `num_at_once` prompts at a time: their states are made once."""
    result = _nothing_run((len(table.quality), len(lams)))
    chains = [policy.chain_at(lam) for lam in lams]

    def run(start: int) -> None:
        batch = slice(start, start + num_at_once)
        part = table.take(batch)
        state_of = functools.cache(part.state)
        rows = np.arange(len(part.quality))
        for place, (lam, chain) in enumerate(zip(lams, chains, strict=True)):
            found = _at((batch, place), result)
            if chain is None:
                _visit(policy.induced, part, state_of, lam, (), rows, found)
            else:
                _follow_chain(chain, part, found)

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # numpy lets others run while it computes
        for _ in pool.map(run, range(0, len(table.quality), num_at_once)):
            pass
    return result


def roll_out_chain(chain: ThresholdPolicy, table: FitTable) -> Rollout:
    result = _nothing_run((len(table.quality),))
    _follow_chain(chain, table, result)
    return result


def _nothing_run(shape: tuple[int, ...]) -> Rollout:
    return Rollout(
        np.zeros(shape, order="F"),
        np.zeros(shape, order="F"),
        np.zeros(shape, np.int8, order="F"),
        np.zeros(shape, np.int8, order="F"),
    )


def _follow_chain(chain: ThresholdPolicy, table: FitTable, result: Rollout) -> None:
    going = np.ones(len(table.quality), dtype=bool)
    for place, stage in enumerate(chain.stages):
        result.cost[:] += np.where(going, table.cost_of(stage, chain.stages[:place]), 0.0)
        result.num_run[going] += 1
        stops = going.copy()
        if place < len(chain.thresholds):
            stops &= table.estimates[:, stage] >= chain.thresholds[place]
        result.quality[stops] = table.quality[stops, stage]
        result.stage[stops] = stage
        going &= ~stops


def _at(place: tuple[slice, int], rollout: Rollout) -> Rollout:
    """A view of some prompts at one lambda."""
    quality, cost, stage, num_run = rollout
    return Rollout(quality[place], cost[place], stage[place], num_run[place])


def _visit(
    policy: InducedPolicy,
    table: FitTable,
    state_of: Callable[[tuple[int, ...]], FloatArray],
    lam: float,
    held: tuple[int, ...],
    rows: NDArray[np.int64],
    result: Rollout,
) -> None:
    state = state_of(held)
    values = policy.values(held, state if len(rows) == len(state) else state[rows], lam)
    best = values.values_go[:, :, 0].argmin(axis=1) if values.values_go.shape[1] else rows * 0
    stops = np.zeros(len(rows), dtype=bool)
    if held:
        least = values.values_go[:, :, 0].min(axis=1, initial=np.inf)
        stops = values.value_stop[:, 0] <= least
        returned = np.asarray(held)[returned_index(values.stop_quality)][stops]
        ended = rows[stops]
        result.stage[ended] = returned
        result.quality[ended] = table.quality[ended, returned]
        result.num_run[ended] = len(held)
    for place, stage in enumerate(later_stages(held, policy.stages)):
        chosen = rows[~stops & (best == place)]
        if len(chosen):
            result.cost[chosen] += table.cost_of(stage, held)[chosen]
            _visit(policy, table, state_of, lam, (*held, stage), chosen, result)
