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
from adaptive_sd.decision.loss import loss_of
from adaptive_sd.decision.partial import Drafted
from adaptive_sd.decision.polishing import Polisher
from adaptive_sd.decision.realised import Outcome, Tried, choose_next, follow
from adaptive_sd.decision.ridge import FoldedRidge, RidgeFit
from adaptive_sd.decision.states import (
    StateFit,
    columns_of,
    held_of,
    last_of,
    later_stages,
    state_index,
)

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
        losses: FloatArray = loss_of(self.cost, self.quality, self.policy.lam_grid)
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
    fitting = _Fitting.begin(folded, stages, may_abandon=may_abandon)
    states = fitting.fit_states()
    return fitting.found(states, fitting.outcomes[()])


def induce_polished(draws: Sequence[FoldedTable], stages: Sequence[int]) -> InductionFit:
    """The mean of what each draw of folds gives, polished; see `induce` and Polisher.

    No drafts are abandoned.
    """
    fittings = [_Fitting.begin(folded, stages) for folded in draws]
    mean = _mean_states([fitting.fit_states() for fitting in fittings])
    first = fittings[0]
    table, folds = first.folded.table, first.folded.folds
    states = Polisher(table, first.stages, mean, first.grid, first.least_costs).polish(folds)
    return first.found(states, first.follow_states(states))


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
    go: NDArray[np.float32]  # (num_prompts, num_later, 2, num_lams), out of fold where fitted
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
        go = np.empty((len(folds), len(later), 2, num_lams), dtype=np.float32)
        return cls(held, features, stop, go, ridge, instead, base)

    def regress(self, place: int, outcome: Outcome) -> FloatArray:
        """Fit quality and cost of running the stage at this place; returns their weights.

        (num_state_features, 2, num_lams).
        """
        gain = self.ridge.fit(outcome.quality.astype(np.float64) - self.instead[:, None])
        if self.base is not None:
            gain = RidgeFit(*map(np.add, gain, self.base))
        cost = self.ridge.fit(outcome.cost.astype(np.float64))
        for kind, fit in enumerate((gain, cost)):
            self.go[:, place, kind] = fit.out_of_fold
        return np.stack([gain.weights, cost.weights], axis=1)


class _Fitting(NamedTuple):
    """States are fitted from the largest down; each takes the outcomes of those after it."""

    folded: FoldedTable
    stages: tuple[int, ...]
    grid: FloatArray
    least_costs: FloatArray  # (num_stages,)
    may_abandon: bool
    outcomes: dict[tuple[int, ...], Outcome]
    savings: dict[SavingKey, FloatArray]

    @classmethod
    def begin(
        cls, folded: FoldedTable, stages: Sequence[int], *, may_abandon: bool = False
    ) -> _Fitting:
        table = folded.table
        least = np.array([table.least_cost(stage) for stage in stages])
        return cls(folded, tuple(stages), lam_grid(table.cost), least, may_abandon, {}, {})

    def fit_states(self) -> list[StateFit]:
        """In the order of their indices."""
        return [self.fit_state(i) for i in reversed(range(2 ** len(self.stages)))][::-1]

    def found(self, states: Sequence[StateFit], first: Outcome) -> InductionFit:
        """Of all states, and what happens from the beginning."""
        weights = tuple(state.all_weights for state in states)
        num_stages = self.folded.table.num_stages
        return InductionFit(
            InducedPolicy(self.stages, self.grid, weights, self.least_costs, self.savings),
            first.quality,
            first.cost,
            first.stage,
            np.stack([(first.ran >> s & 1).mean(axis=0) for s in range(num_stages)], axis=1),
        )

    def fit_state(self, index: int) -> StateFit:
        """After all states with a draft more."""
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
            weights.insert(0, state.regress(place, outcomes[0]))
        choices = self.choose(state.stop, state.go)
        self.outcomes[held] = follow(table, held, state.stop, choices, outcomes)
        shape = (state.features.shape[1], len(later), 2, len(self.grid))
        together = np.stack(weights, axis=1) if weights else np.empty(shape)
        odds = [fit.weights for fit in self.folded.odds(held, state.features)]
        return StateFit(held, state.stop, state.go, columns_of(odds, shape[0]), together)

    def follow_states(self, states: Sequence[StateFit]) -> Outcome:
        """What happens from the beginning; no draft is abandoned."""
        table = self.folded.table
        outcomes: dict[tuple[int, ...], Outcome] = {}
        for state in reversed(states):
            held = state.held
            offered = Drafted(held[-1]) if held else None
            tried = [Tried(s, outcomes.pop((*held, s))) for s in later_stages(held, self.stages)]
            found = [each.outcome(table, offered) for each in tried]
            choices = self.choose(state.stop, state.go)
            outcomes[held] = follow(table, held, state.stop, choices, found)
        return outcomes[()]

    def choose(self, stop: FloatArray, go: NDArray[np.floating]) -> NDArray[np.int8]:
        """See choose_next; `go` is of the last stages."""
        return choose_next(stop, go, self.grid, last_of(self.least_costs, go.shape[1]))

    def _abandon(self, state: _State, place: int, whole: Tried, tried: Sequence[Tried]) -> Tried:
        """The stage at this place, its draft abandoned where that pays; `tried` are those after."""
        table = self.folded.table
        state.regress(place, whole.outcome(table, state.offered))
        draft = Growing(
            stage=whole.stage,
            state=state.features,
            offered=state.offered,
            begins=self.choose(state.stop, state.go[:, place:]) == 0,
            instead=partial(
                _follow_tried,
                *(table, state.held, state.stop),
                self.choose(state.stop, state.go[:, place + 1 :]),
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


def _mean_states(draws: Sequence[Sequence[StateFit]]) -> list[StateFit]:
    """Of each state over the draws."""
    if len(draws) == 1:
        return list(draws[0])
    means = []
    for states in zip(*draws, strict=True):
        sides = zip(*(state[1:] for state in states), strict=True)
        means.append(StateFit(states[0].held, *(np.mean(side, axis=0) for side in sides)))
    return means
