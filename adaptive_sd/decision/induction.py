"""Fits the policy backwards from the largest subset of stages, out of fold throughout."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from adaptive_sd.decision.abandoning import Growing, fit_abandoning
from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.induced import InducedPolicy, SavingKey
from adaptive_sd.decision.loss import loss_of
from adaptive_sd.decision.partial import Drafted
from adaptive_sd.decision.polishing import Polisher
from adaptive_sd.decision.realised import Outcome, Tried, choose_next, follow, stopped
from adaptive_sd.decision.state_fitting import FoldedTable, State
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
_NEIGHBOURS = 5
"""Lambdas next to each other that choose together: what one shows is mostly noise."""

_NO_SAVING = 1e-9
"""As a share of the loss: ties stay with induction, whatever is rounded."""


class InductionFit(NamedTuple):
    """The policy, and what policies fitted on other folds brought about on each prompt."""

    policy: InducedPolicy
    quality: NDArray[np.float32]  # (num_prompts, num_lams)
    cost: NDArray[np.float32]  # (num_prompts, num_lams)
    stage: NDArray[np.int8]  # (num_prompts, num_lams), the stage returned
    run_share: FloatArray  # (num_lams, num_stages), share of prompts on which a stage ran
    is_myopic: NDArray[np.bool_]  # (num_lams,), whether the next drafts alone decide

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
    fitting = Fitting.begin(folded, stages, may_abandon=may_abandon)
    states = [fitted.ahead for fitted in fitting.fit_states()]
    return fitting.found(states, fitting.outcomes[()], np.zeros(len(fitting.grid), np.bool_))


def induce_polished(draws: Sequence[FoldedTable], stages: Sequence[int]) -> InductionFit:
    """The mean of what each draw of folds gives, polished; see `induce` and Polisher.

    Around lambdas where it loses less, the myopic rule takes the place of induction: few prompts
    tell badly what a draft will be good for. No drafts are abandoned.
    """
    fittings = [Fitting.begin(folded, stages) for folded in draws]
    fitted = [fitting.fit_states() for fitting in fittings]
    ahead = _mean_states([[state.ahead for state in states] for states in fitted])
    myopic = _mean_states([[state.myopic for state in states] for states in fitted])
    first = fittings[0]
    is_myopic = first.loses_less(myopic, ahead)
    for state, other in zip(ahead, myopic, strict=True):
        state.go[..., is_myopic] = other.go
        state.weights[..., is_myopic] = other.weights
    table, folds = first.folded.table, first.folded.folds
    states = Polisher(table, first.stages, ahead, first.grid, first.least_costs).polish(folds)
    return first.found(states, first.follow_states(states), is_myopic)


def lam_grid(cost: FloatArray) -> FloatArray:
    """0, then log-spaced: from where nothing can pay to where any gain in quality does."""
    least = max(float(np.quantile(cost, 0.05, axis=0).min()), 1e-3 * float(cost.mean()), 1e-12)
    dearest = max(float(cost.mean(axis=0).max()), least)
    return np.concatenate([[0.0], np.geomspace(0.5 * least, 200 * dearest, _NUM_LAMS)])


class Fitted(NamedTuple):
    """A state fitted on what following the policy brings about, and on the next drafts alone.

    Of these, which the myopic rule goes by, estimates and weights are the same at every lambda.
    """

    ahead: StateFit
    myopic: StateFit


class Fitting(NamedTuple):
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
    ) -> Fitting:
        table = folded.table
        least = np.array([table.least_cost(stage) for stage in stages])
        return cls(folded, tuple(stages), lam_grid(table.cost), least, may_abandon, {}, {})

    def fit_states(self) -> list[Fitted]:
        """In the order of their indices."""
        return [self.fit_state(i) for i in reversed(range(2 ** len(self.stages)))][::-1]

    def found(
        self, states: Sequence[StateFit], first: Outcome, is_myopic: NDArray[np.bool_]
    ) -> InductionFit:
        """Of all states, and what happens from the beginning."""
        weights = tuple(state.all_weights for state in states)
        num_stages = self.folded.table.num_stages
        return InductionFit(
            InducedPolicy(self.stages, self.grid, weights, self.least_costs, self.savings),
            first.quality,
            first.cost,
            first.stage,
            np.stack([(first.ran >> s & 1).mean(axis=0) for s in range(num_stages)], axis=1),
            is_myopic,
        )

    def fit_state(self, index: int) -> Fitted:
        """After all states with a draft more."""
        table = self.folded.table
        held = held_of(index, self.stages)
        later = later_stages(held, self.stages)
        state = State.begin(self.folded, held, len(self.grid), later)
        weights: list[FloatArray] = []
        of_drafts: list[FloatArray] = []
        tried: list[Tried] = []
        outcomes: list[Outcome] = []
        for place, stage in reversed([*enumerate(later)]):
            found = Tried(stage, self.outcomes.pop((*held, stage)))  # only here it is come from
            if self.may_abandon:
                if held or tried:
                    found = self._abandon(state, place, found, tried)
                tried.insert(0, found)
            outcomes.insert(0, found.outcome(table, state.offered))
            weights.insert(0, state.regress(state.go[:, place], outcomes[0]))
            draft = Tried(stage, stopped(table, stage)).outcome(table, state.offered)
            of_drafts.insert(0, state.regress(state.alone[:, place], draft))
        choices = self.choose(state.stop, state.go)
        self.outcomes[held] = follow(table, held, state.stop, choices, outcomes)
        num_features = state.features.shape[1]
        odds = columns_of(
            [fit.weights for fit in self.folded.odds(held, state.features)], num_features
        )

        def fitted(going: NDArray[np.float32], weights: Sequence[FloatArray]) -> StateFit:
            empty = np.empty((num_features, *going.shape[1:]))
            together = np.stack(weights, axis=1) if weights else empty
            return StateFit(held, state.stop, going, odds, together)

        return Fitted(fitted(state.go, weights), fitted(state.alone, of_drafts))

    def loses_less(
        self, states: Sequence[StateFit], others: Sequence[StateFit]
    ) -> NDArray[np.bool_]:
        """Whether it loses less out of fold to follow these, at each lambda with its neighbours."""
        losses, instead = (
            self.follow_states(each).losses(self.grid).mean(axis=0) for each in (states, others)
        )
        saved = 1 - np.divide(losses, instead, out=np.ones_like(losses), where=instead > 0)
        found: NDArray[np.bool_] = uniform_filter1d(saved, _NEIGHBOURS, mode="nearest") > _NO_SAVING
        return found

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

    def _abandon(self, state: State, place: int, whole: Tried, tried: Sequence[Tried]) -> Tried:
        """The stage at this place, its draft abandoned where that pays; `tried` are those after."""
        table = self.folded.table
        state.regress(state.go[:, place], whole.outcome(table, state.offered))
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
