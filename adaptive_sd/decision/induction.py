"""Fits the policy backwards from the largest subset of stages, out of fold throughout."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.abandoning import Growing, fit_abandoning
from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.induced import InducedPolicy, SavingKey, returned_of
from adaptive_sd.decision.logistic import LogisticFit, fit_logistic_from
from adaptive_sd.decision.partial import Drafted
from adaptive_sd.decision.realised import Outcome, Tried, choose_next, follow
from adaptive_sd.decision.ridge import FoldedRidge, RidgeFit
from adaptive_sd.decision.states import held_of, later_stages, state_index

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

    @property
    def losses(self) -> FloatArray:
        """Of each prompt, (num_prompts, num_lams)."""
        losses: FloatArray = self.cost + self.policy.lam_grid * (1 - self.quality)
        return losses


def induce(
    folded: FoldedTable, stages: Sequence[int], *, may_abandon: bool = False
) -> InductionFit:
    """Fitted backward induction for loss = cost + lam * (1 - quality); see InducedPolicy.

    In every state the quality in the end and the cost from here of each next stage are regressed
    on what was *realised* by following the policy after it; the decisions that lead there were
    made by estimates that had not seen the prompt. Of the quality that is the gain over what the
    best draft held brings, which alone decides: how easy a prompt is, for all stages alike, would
    else choose how smooth the fit is. Only `stages` may run.
    """
    table, usable = folded.table, tuple(stages)
    grid = lam_grid(table.cost)
    fitting = _Fitting(folded, usable, grid, may_abandon, {}, {})
    states = [fitting.fit_state(index) for index in reversed(range(2 ** len(usable)))]
    first = fitting.outcomes[()]
    return InductionFit(
        policy=InducedPolicy(usable, grid, tuple(reversed(states)), fitting.savings),
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


class _State(NamedTuple):
    """One state while its next stages are fitted, from the last of them on."""

    held: tuple[int, ...]
    features: FloatArray  # (num_prompts, num_state_features)
    stop: FloatArray  # (num_prompts, num_held), out of fold
    go: FloatArray  # (num_prompts, num_later, 2, num_lams), out of fold where fitted
    ridge: FoldedRidge
    instead: FloatArray  # (num_prompts,), quality that gains are over
    base: RidgeFit | None
    """Of `instead`; None where it is estimated by `stop`."""

    @property
    def offered(self) -> Drafted | None:
        return Drafted(self.held[-1]) if self.held else None

    @classmethod
    def begin(
        cls, folded: FoldedTable, held: tuple[int, ...], num_lams: int, later: Sequence[int]
    ) -> _State:
        """Nothing is fitted yet but the odds of the drafts held."""
        table, folds = folded.table, folded.folds
        features = table.state(held)
        stop = columns_of([fit.out_of_fold for fit in folded.odds(held, features)], len(folds))
        ridge = FoldedRidge(features, folds)
        if held:
            instead, base = table.quality[np.arange(len(stop)), returned_of(held, stop)], None
        else:
            instead = table.quality[:, list(later)].mean(axis=1)
            base = ridge.fit(instead[:, None])
        go = np.empty((len(folds), len(later), 2, num_lams))
        return cls(held, features, stop, go, ridge, instead, base)

    def regress(self, place: int, outcome: Outcome) -> list[FloatArray]:
        """Fit quality and cost of running the stage at this place; returns their weights."""
        gain = self.ridge.fit(outcome.quality.astype(np.float64) - self.instead[:, None])
        if self.base is not None:
            gain = RidgeFit(*map(np.add, gain, self.base))
        cost = self.ridge.fit(outcome.cost.astype(np.float64))
        for kind, fit in enumerate((gain, cost)):
            self.go[:, place, kind] = fit.out_of_fold
        return [gain.weights, cost.weights]


class _Fitting(NamedTuple):
    """States are fitted from the largest down; each takes the outcomes of those after it."""

    folded: FoldedTable
    stages: tuple[int, ...]
    grid: FloatArray
    may_abandon: bool
    outcomes: dict[tuple[int, ...], Outcome]
    savings: dict[SavingKey, FloatArray]

    def fit_state(self, index: int) -> FloatArray:
        """The weights of the state."""
        table = self.folded.table
        held = held_of(index, self.stages)
        later = later_stages(held, self.stages)
        state = _State.begin(self.folded, held, len(self.grid), later)
        weights: list[FloatArray] = []
        tried: list[Tried] = []
        outcomes: list[Outcome] = []
        for place, stage in reversed([*enumerate(later)]):
            found = Tried(stage, self.outcomes.pop((*held, stage)))  # only here it is come from
            if self.may_abandon:
                if held or tried:
                    found = self._abandon(state, place, found, tried)
                tried.insert(0, found)
            outcomes.insert(0, found.outcome(table, state.offered))
            weights = [*state.regress(place, outcomes[0]), *weights]
        choices = choose_next(state.stop, state.go, self.grid)
        self.outcomes[held] = follow(table, held, state.stop, choices, outcomes)
        odds = self.folded.odds(held, state.features)
        first = columns_of([fit.weights for fit in odds], state.features.shape[1])
        return np.concatenate([first, *weights], axis=1)

    def _abandon(self, state: _State, place: int, whole: Tried, tried: Sequence[Tried]) -> Tried:
        """The stage at this place, its draft abandoned where that pays; `tried` are those after."""
        table, stop, go = self.folded.table, state.stop, state.go
        state.regress(place, whole.outcome(table, state.offered))
        draft = Growing(
            stage=whole.stage,
            state=state.features,
            offered=state.offered,
            begins=choose_next(stop, go[:, place:], self.grid) == 0,
            instead=partial(
                _follow_tried,
                *(table, state.held, stop),
                choose_next(stop, go[:, place + 1 :], self.grid),
                tuple(tried),
            ),
        )
        found, savings = fit_abandoning(table, self.folded.folds, draft, whole.after, self.grid)
        index = state_index(state.held, self.stages)
        self.savings.update({(index, whole.stage, at): w for at, w in savings.items()})
        return found


def _follow_tried(
    table: FitTable,
    held: tuple[int, ...],
    stop: FloatArray,
    choices: NDArray[np.int8],
    tried: Sequence[Tried],
    offered: Drafted,
) -> Outcome:
    """What happens where the next stages may verify the draft that is offered."""
    outcomes = [each.outcome(table, offered) for each in tried]
    return follow(table, held, stop, choices, outcomes)


def columns_of(columns: Sequence[FloatArray], num_rows: int) -> FloatArray:
    """Side by side, shape (num_rows, num_columns); there may be none."""
    return np.stack(columns, axis=1) if columns else np.empty((num_rows, 0))
