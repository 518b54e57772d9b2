"""Fits the policy backwards from the largest subset of stages, out of fold throughout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.folds import make_folds
from adaptive_sd.decision.induced import (
    InducedPolicy,
    held_of,
    later_stages,
    returned_index,
    state_values,
)
from adaptive_sd.decision.logistic import LogisticFit, fit_logistic_from
from adaptive_sd.decision.ridge import FoldedRidge

FloatArray = NDArray[np.float64]

NUM_FOLDS = 5
_NUM_LAMS = 24


class FoldedTable:
    """A table and the fold of each prompt; what is fitted in a state is fitted once."""

    def __init__(self, table: FitTable, folds: NDArray[np.int64]) -> None:
        self.table = table
        self.folds = folds
        self._odds: dict[tuple[int, ...], list[LogisticFit]] = {}

    def odds(self, held: tuple[int, ...], state: FloatArray) -> list[LogisticFit]:
        """Log odds that each draft held is right, whichever stages may run later.

        `state` (num_prompts, num_state_features) is the table's with these drafts held.
        """
        if held not in self._odds:
            first = 1 + self.table.prompt_features.shape[1]  # see state_features
            self._odds[held] = [
                fit_logistic_from(state, self.table.quality[:, s], self.folds, start=first + place)
                for place, s in enumerate(held)
            ]
        return self._odds[held]


class InductionFit(NamedTuple):
    """The policy, and what policies fitted on other folds brought about on each prompt."""

    policy: InducedPolicy
    quality: NDArray[np.float32]  # (num_prompts, num_lams)
    cost: NDArray[np.float32]  # (num_prompts, num_lams)
    stage: NDArray[np.int8]  # (num_prompts, num_lams), the stage returned
    run_share: FloatArray  # (num_lams, num_stages), share of prompts on which a stage ran


class _Outcome(NamedTuple):
    """What following the policy from one state brings about, at each lambda."""

    quality: NDArray[np.float32]  # (num_prompts, num_lams)
    cost: NDArray[np.float32]
    stage: NDArray[np.int8]
    ran: NDArray[np.uint8]  # bit k: stage k ran from here on


def fit_induction(
    table: FitTable,
    *,
    rng: np.random.Generator,
    num_folds: int = NUM_FOLDS,
    stages: Sequence[int] | None = None,
) -> InductionFit:
    """As `induce`, with folds drawn by `rng`; DataError for too few prompts."""
    folds = make_folds(len(table.quality), num_folds, rng=rng)
    return induce(FoldedTable(table, folds), range(table.num_stages) if stages is None else stages)


def induce(folded: FoldedTable, stages: Sequence[int]) -> InductionFit:
    """Fitted backward induction for loss = cost + lam * (1 - quality); see InducedPolicy.

    In every state the quality in the end and the cost from here of each next stage are regressed
    on what was *realised* by following the policy after it; the decisions that lead there were
    made by estimates that had not seen the prompt. Only `stages` may run.
    """
    table, usable = folded.table, tuple(stages)
    grid = lam_grid(table.cost)
    num_states = 2 ** len(usable)
    weights: list[FloatArray] = [np.empty((0, 0))] * num_states
    outcomes: dict[tuple[int, ...], _Outcome] = {}
    for index in reversed(range(num_states)):
        held = held_of(index, usable)
        later = later_stages(held, usable)
        weights[index], outcomes[held] = _fit_state(folded, held, later, outcomes, grid)
    first = outcomes[()]
    return InductionFit(
        policy=InducedPolicy(usable, grid, tuple(weights)),
        quality=first.quality,
        cost=first.cost,
        stage=first.stage,
        run_share=np.stack(
            [(first.ran >> s & 1).mean(axis=0) for s in range(table.num_stages)], axis=1
        ),
    )


def lam_grid(cost: FloatArray) -> FloatArray:
    """0, then log-spaced: from where nothing can pay to where any gain in quality does."""
    least = max(float(np.quantile(cost, 0.05, axis=0).min()), 1e-3 * float(cost.mean()), 1e-12)
    dearest = max(float(cost.mean(axis=0).max()), least)
    return np.concatenate([[0.0], np.geomspace(0.5 * least, 200 * dearest, _NUM_LAMS)])


def _fit_state(
    folded: FoldedTable,
    held: tuple[int, ...],
    later: Sequence[int],
    outcomes: dict[tuple[int, ...], _Outcome],
    grid: FloatArray,
) -> tuple[FloatArray, _Outcome]:
    table, folds = folded.table, folded.folds
    state = table.state(held)
    stops = folded.odds(held, state)
    stop = columns_of([fit.out_of_fold for fit in stops], len(folds))
    ridge = FoldedRidge(state, folds)
    weights = [columns_of([fit.weights for fit in stops], state.shape[1])]
    go = np.empty((len(folds), len(later), 2, len(grid)))
    next_outcomes = [_run(table, stage, held, outcomes) for stage in later]
    for place, outcome in enumerate(next_outcomes):
        for kind, target in enumerate((outcome.quality, outcome.cost)):
            fit = ridge.fit(target.astype(np.float64))
            weights.append(fit.weights)
            go[:, place, kind] = fit.out_of_fold
    realised = _follow(table, held, stop, go, next_outcomes, grid)
    return np.concatenate(weights, axis=1), realised


def columns_of(columns: Sequence[FloatArray], num_rows: int) -> FloatArray:
    """Side by side, shape (num_rows, num_columns); there may be none."""
    return np.stack(columns, axis=1) if columns else np.empty((num_rows, 0))


def _run(
    table: FitTable, stage: int, held: tuple[int, ...], outcomes: dict[tuple[int, ...], _Outcome]
) -> _Outcome:
    """What running `stage` and then following the policy brings about."""
    after = outcomes.pop((*held, stage))  # only here it is come from
    paid = table.cost_of(stage, held).astype(np.float32)[:, None]
    return after._replace(cost=after.cost + paid, ran=after.ran | np.uint8(1 << stage))


def _follow(
    table: FitTable,
    held: tuple[int, ...],
    stop: FloatArray,
    go: FloatArray,
    next_outcomes: list[_Outcome],
    grid: FloatArray,
) -> _Outcome:
    """Decide by the estimates given; keep what then happens."""
    shape = (len(stop), len(grid))
    quality = np.zeros(shape, dtype=np.float32)
    stage = np.full(shape, -1, dtype=np.int8)
    if held:
        returned = np.asarray(held)[returned_index(stop)]
        quality[:] = table.quality[np.arange(len(stop)), returned][:, None]
        stage[:] = returned[:, None]
    outcome = _Outcome(quality, np.zeros(shape, np.float32), stage, np.zeros(shape, dtype=np.uint8))
    if not next_outcomes:
        return outcome
    values = state_values(stop, go, grid)
    best = values.values_go.argmin(axis=1)
    goes = values.values_go.min(axis=1) < values.value_stop
    for place, after in enumerate(next_outcomes):
        chosen = goes & (best == place)
        outcome.quality[chosen] = after.quality[chosen]
        outcome.cost[chosen] = after.cost[chosen]
        outcome.stage[chosen] = after.stage[chosen]
        outcome.ran[chosen] = after.ran[chosen]
    return outcome
