"""Fits the policy backwards from the largest subset of stages, out of fold throughout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.folds import make_folds
from adaptive_sd.decision.induced import (
    InducedPolicy,
    held_of,
    later_stages,
    returned_index,
    state_features,
    state_values,
)
from adaptive_sd.decision.logistic import LogisticFit, fit_logistic_from
from adaptive_sd.decision.ridge import FoldedRidge
from adaptive_sd.errors import DataError

FloatArray = NDArray[np.float64]

MAX_STAGES = 7
NUM_FOLDS = 5
_NUM_LAMS = 24


@dataclass(frozen=True, slots=True, eq=False)
class FitTable:
    """Every stage's outcome on every prompt.

    `estimates` are the stages' predictors' qualities, out of fold where they are to be fitted on.
    `cost_after[n, k, j]` is the cost of stage k when it verifies stage j's draft; nan where that
    is as `cost[n, k]`. `agreement[n, k, j]`: both gave the same answer. Prompts of one `group` have
    one text, so that what was fitted on one has seen the others; None where each is its own.
    """

    quality: FloatArray  # (num_prompts, num_stages)
    cost: FloatArray  # (num_prompts, num_stages)
    estimates: FloatArray  # (num_prompts, num_stages)
    statistics: NDArray[np.float32]  # (num_prompts, num_stages, len(STATE_STATISTICS))
    prompt_features: NDArray[np.float32]  # (num_prompts, num_prompt_features)
    agreement: NDArray[np.bool_]  # (num_prompts, num_stages, num_stages)
    cost_after: FloatArray | None = None  # (num_prompts, num_stages, num_stages)
    group: NDArray[np.int64] | None = None  # (num_prompts,)

    def __post_init__(self) -> None:
        num_prompts, num_stages = self.quality.shape
        wanted = {
            "cost": (num_prompts, num_stages),
            "estimates": (num_prompts, num_stages),
            "agreement": (num_prompts, num_stages, num_stages),
        }
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise DataError(f"{name} has shape {getattr(self, name).shape}, not {shape}.")
        if not 1 <= num_stages <= MAX_STAGES:
            raise DataError(f"{num_stages} stages; a fit takes 1 to {MAX_STAGES}.")
        if len(self.statistics) != num_prompts or len(self.prompt_features) != num_prompts:
            raise DataError(f"features are not of {num_prompts} prompts.")
        for name, upper in (("quality", 1.0), ("estimates", 1.0), ("cost", np.finfo(float).max)):
            values = getattr(self, name)
            if not ((values >= 0) & (values <= upper)).all():
                row, stage = np.argwhere(~((values >= 0) & (values <= upper)))[0]
                raise DataError(f"{name} of prompt {row}, stage {stage} is {values[row, stage]}.")

    @property
    def num_stages(self) -> int:
        return int(self.quality.shape[1])

    def cost_of(self, stage: int, held: Sequence[int]) -> FloatArray:
        """Cost of running `stage` with these drafts held: the last one is verified."""
        plain = self.cost[:, stage]
        if not held or self.cost_after is None:
            return plain
        after = self.cost_after[:, stage, held[-1]]
        return np.where(np.isnan(after), plain, after)

    def take(self, rows: NDArray[np.int64] | slice) -> FitTable:
        """Some prompts of the table."""
        parts: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        chosen: dict[str, Any] = {n: None if v is None else v[rows] for n, v in parts.items()}
        return FitTable(**chosen)

    def draw(self, num_prompts: int, *, seed: int) -> FitTable:
        """So many of its prompts, in order; the whole table where it has no more."""
        if len(self.quality) <= num_prompts:
            return self
        drawn = np.random.default_rng([seed, 1]).permutation(len(self.quality))
        return self.take(np.sort(drawn[:num_prompts]))

    def state(self, held: Sequence[int], rows: NDArray[np.int64] | None = None) -> FloatArray:
        """State features with these drafts held, of all prompts or of some rows."""
        chosen = slice(None) if rows is None else rows
        pairs = [(held[j], held[i]) for j in range(len(held)) for i in range(j)]
        later, earlier = [p[0] for p in pairs], [p[1] for p in pairs]
        return state_features(
            self.prompt_features[chosen],
            self.estimates[chosen][:, list(held)],
            self.agreement[chosen][:, later, earlier].astype(np.float64),
            self.statistics[chosen, held[-1]] if held else np.empty((0, 0), dtype=np.float32),
        )


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
    folds = make_folds(len(table.quality), num_folds, rng=rng, groups=table.group)
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
