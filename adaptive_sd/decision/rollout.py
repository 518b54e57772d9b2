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
from adaptive_sd.decision.induced import InducedPolicy, returned_of
from adaptive_sd.decision.joined import JoinedPolicy
from adaptive_sd.decision.partial import WHOLE, Drafted
from adaptive_sd.decision.policies import ThresholdPolicy
from adaptive_sd.decision.states import later_stages, partial_features

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
                _Follower(policy.induced, part, state_of, lam, found).visit(_Place(), rows)
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
            stops &= table.told(stage) >= chain.thresholds[place]
        result.quality[stops] = table.quality[stops, stage]
        result.stage[stops] = stage
        going &= ~stops


def _at(place: tuple[slice, int], rollout: Rollout) -> Rollout:
    """A view of some prompts at one lambda."""
    quality, cost, stage, num_run = rollout
    return Rollout(quality[place], cost[place], stage[place], num_run[place])


class _Place(NamedTuple):
    """Where a policy has come to with some prompts: `last` is what was drafted last."""

    held: tuple[int, ...] = ()
    last: Drafted | None = None
    num_run: int = 0

    def after(self, drafted: Drafted) -> _Place:
        held = (*self.held, drafted.stage) if drafted.place == WHOLE else self.held
        return _Place(held, drafted, self.num_run + 1)


class _Follower(NamedTuple):
    """The policy at one lambda, on a table."""

    policy: InducedPolicy | JoinedPolicy
    table: FitTable
    state_of: Callable[[tuple[int, ...]], FloatArray]
    lam: float
    result: Rollout

    def visit(self, place: _Place, rows: NDArray[np.int64]) -> None:
        held, result, stages = place.held, self.result, self.policy.stages

        def state_of(some: Sequence[int]) -> FloatArray:
            state = self.state_of(tuple(some))
            return state if len(rows) == len(state) else state[rows]

        values = self.policy.estimate(held, state_of, self.lam)
        if held and self.table.shift is not None:
            values = values.shifted(self.table.shift[rows][:, list(held)], self.lam)
        later = later_stages(held if place.last is None else (place.last.stage,), stages)
        values_go = values.values_go[:, values.values_go.shape[1] - len(later) :, 0]
        best = values_go.argmin(axis=1) if len(later) else rows * 0
        stops = np.zeros(len(rows), dtype=bool)
        if held:
            stops = values.value_stop[:, 0] <= values_go.min(axis=1, initial=np.inf)
            returned = returned_of(held, values.stop_quality)[stops]
            ended = rows[stops]
            result.stage[ended] = returned
            result.quality[ended] = self.table.quality[ended, returned]
            result.num_run[ended] = place.num_run
        for nth, stage in enumerate(later):
            chosen = rows[~stops & (best == nth)]
            if len(chosen):
                self._run(place, stage, chosen)

    def _run(self, place: _Place, stage: int, rows: NDArray[np.int64]) -> None:
        """Draft until a checkpoint says that it does not pay."""
        for at in range(WHOLE):
            drafted = Drafted(stage, at)
            weights = self.policy.saving_weights(place.held, drafted, self.lam)
            if weights is None:
                continue
            abandons = self._abandons(place.held, drafted, weights, rows)
            if abandons.any():
                self._pay(place, drafted, rows[abandons])
                rows = rows[~abandons]
        if len(rows):
            self._pay(place, Drafted(stage), rows)

    def _pay(self, place: _Place, drafted: Drafted, rows: NDArray[np.int64]) -> None:
        self.result.cost[rows] += self.table.cost_to(drafted, place.last)[rows]
        self.visit(place.after(drafted), rows)

    def _abandons(
        self,
        held: tuple[int, ...],
        drafted: Drafted,
        weights: FloatArray,
        rows: NDArray[np.int64],
    ) -> NDArray[np.bool_]:
        table, (stage, at) = self.table, drafted
        if table.part_statistics is None:  # nothing was recorded of drafts that grow
            return np.zeros(len(rows), dtype=np.bool_)
        known = partial_features(self.state_of(held)[rows], table.part_statistics[rows, stage, at])
        reaches: NDArray[np.bool_] = table.reaches(stage, at)[rows]
        return reaches & (known @ weights > 0)
