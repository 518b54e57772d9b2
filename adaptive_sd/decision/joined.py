"""A fitted policy, and a stage that joined its ladder on few graded prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.calibration import logit, sigmoid
from adaptive_sd.decision.induced import (
    InducedPolicy,
    SavingKey,
    StateOf,
    StateValues,
    decide_by,
    later_stages,
    place_lam,
    state_index,
)
from adaptive_sd.decision.partial import Drafted
from adaptive_sd.decision.policies import Choice, Evidence
from adaptive_sd.errors import ArtifactError

FloatArray = NDArray[np.float64]

NUM_LEVELS = 9
BEFORE_COLUMNS = 3
AFTER_COLUMNS = 7
ODDS_MARGIN = 0.01
"""Chances are kept so far from 0 and 1 where their log odds are evidence."""


@dataclass(frozen=True, slots=True, eq=False)
class Newcomer:
    """What few graded prompts tell of the stage that joined.

    `before` and `after` are weights of the log odds that its draft is right, of `before_features`
    and `after_features`; both are lowered by `caution`, which falls as evidence comes in. In each
    state of the old policy its draft is expected to move its own log odds and the highest of the
    drafts held by one of the pairs of `reveals`, all equally likely. `doubt` is the weight of its `contradiction` of another answer. It costs
    `cost_ratios` times what the other stages do on a prompt: with nothing to verify, then after
    each of the old policy's stages. `relief` is the expected loss that it saves after each of them
    has run in a state: old values do not know that it can run then.
    """

    stage: int
    before: FloatArray  # (BEFORE_COLUMNS,)
    after: FloatArray  # (AFTER_COLUMNS,)
    caution: float
    reveals: FloatArray  # (num_states, NUM_LEVELS, 2)
    doubt: float
    cost_ratios: FloatArray  # (1 + num_old_stages,)
    relief: FloatArray  # (num_states, num_old_stages, num_lams)


class Known(NamedTuple):
    """What the old policy says of prompts in a state, without the newcomer's draft.

    `ease` is the mean of the log odds that each old stage is right, from the prompt alone;
    `odds` are those of each draft held, `best` the highest of them, or `ease` where none is.
    """

    ease: FloatArray  # (num_rows,)
    cost: FloatArray  # (num_rows,), mean of the old stages' drafts
    odds: FloatArray  # (num_rows, num_held)

    @property
    def best(self) -> FloatArray:
        return self.odds.max(axis=1) if self.odds.shape[1] else self.ease


def known_of(
    old: InducedPolicy, held: Sequence[int], state_of: StateOf, among: Sequence[int]
) -> Known:
    """`held` are old stages; means are over the old stages `among` all."""
    places = [old.stages.index(stage) for stage in among]
    quality, cost = alone(old, state_of(()))
    ease = logit(quality[:, places], ODDS_MARGIN).mean(axis=1)
    state = state_of(held)
    odds = state @ old.weights[state_index(held, old.stages)][:, : len(held)]
    return Known(ease, cost[:, places].mean(axis=1), odds)


def alone(old: InducedPolicy, state: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Quality and cost of each stage's draft, from the prompt: (num_rows, num_stages) each.

    At lambda 0 nothing follows a first draft.
    """
    grid = (state @ old.weights[0]).reshape(len(state), len(old.stages), 2, -1)
    return grid[:, :, 0, 0], np.maximum(grid[:, :, 1, 0], 0)


def before_features(known: Known) -> FloatArray:
    """Of the newcomer's draft before it is made: (num_rows, BEFORE_COLUMNS)."""
    return np.stack([np.ones_like(known.ease), known.ease, known.best - known.ease], axis=1)


def after_features(known: Known, own: FloatArray, agrees: NDArray[np.bool_]) -> FloatArray:
    """Of the newcomer's draft, `own` being its log odds by itself: (num_rows, AFTER_COLUMNS).

    `agrees` (num_rows, num_held): with each other draft. If draft and another were right or wrong
    independently, log odds would add where they agree, and where they do not log(1 - the other's
    chance) would be added, since two answers are not both right: so these are the features.
    """
    agrees_any = agrees.any(axis=1)
    support = np.where(agrees, known.odds, -np.inf).max(axis=1, initial=-np.inf)
    against = np.where(agrees, 0.0, contradiction(known.odds)).min(axis=1, initial=0.0)
    apart = [known.ease, own, against]
    together = [np.ones_like(own), np.where(agrees_any, support, 0.0), own]
    columns = [*(~agrees_any * c for c in apart), *(agrees_any * c for c in together)]
    return np.stack([np.ones_like(own), *columns], axis=1)


def contradiction(odds: FloatArray) -> FloatArray:
    """log(1 - p) of these log odds: what another answer loses to such a draft."""
    return -np.logaddexp(0, odds)


def contradicted(
    odds: FloatArray, doubt: float, own: FloatArray, agrees: NDArray[np.bool_]
) -> FloatArray:
    """Log odds of the other drafts, (num_rows, num_held), beside a draft that may not agree."""
    return odds + doubt * ~agrees * contradiction(own)[:, None]


@dataclass(frozen=True, slots=True, eq=False)
class JoinedPolicy:
    """The old policy as it was, with the newcomer as one more alternative in every state.

    Running the newcomer costs what it does, and then the better of returning the best draft and of
    going on as the old policy would without it. Stages are those of the ladder with the newcomer.
    """

    old: InducedPolicy
    newcomer: Newcomer

    @property
    def stages(self) -> tuple[int, ...]:
        return tuple(sorted((*self.old.stages, self.newcomer.stage)))

    @property
    def lam_grid(self) -> FloatArray:
        return self.old.lam_grid

    @property
    def savings(self) -> Mapping[SavingKey, FloatArray]:
        return self.old.savings

    def decide(self, evidence: Evidence, lam: float) -> Choice:
        """Raises ConfigError for a lambda outside the grid."""
        return decide_by(self, evidence, lam)

    def estimate(self, held: Sequence[int], state_of: StateOf, lam: float) -> StateValues:
        """See InducedPolicy.estimate."""
        new = self.newcomer
        others = tuple(stage for stage in held if stage != new.stage)
        old = self.old.estimate(others, state_of, lam)
        known = known_of(self.old, others, state_of, self.old.stages)
        if new.stage in held:
            return self._with_draft(held, others, old, known, state_of(held), lam)
        later = later_stages(held, self.stages)
        if new.stage not in later:
            return old
        values_go = np.maximum(old.values_go - self._relief(others, lam)[:, None], 0)
        place = later.index(new.stage)
        value = self._value(others, known, old.values_go[:, place:, 0], lam)
        return old._replace(values_go=np.insert(values_go, place, value[:, None], axis=1))

    def _with_draft(
        self,
        held: Sequence[int],
        others: Sequence[int],
        old: StateValues,
        known: Known,
        state: FloatArray,
        lam: float,
    ) -> StateValues:
        new, place = self.newcomer, list(held).index(self.newcomer.stage)
        num_prompt_features = len(self.old.weights[0]) - 1
        own, agrees = drafted_of(state, num_prompt_features, len(held), place)
        odds = contradicted(known.odds, new.doubt, own, agrees)
        ours = after_features(known, own, agrees) @ new.after - new.caution
        quality = sigmoid(np.insert(odds, place, ours, axis=1))
        num_later = len(later_stages(held, self.stages))
        return StateValues(
            quality,
            lam * (1 - quality.max(axis=1))[:, None],
            old.values_go[:, old.values_go.shape[1] - num_later :],
        )

    def _relief(self, others: Sequence[int], lam: float) -> FloatArray:
        """Of each later old stage."""
        low, high, share = place_lam(self.lam_grid, lam)
        relief = self.newcomer.relief[state_index(others, self.old.stages)]
        later = len(later_stages(others, self.old.stages))
        at: FloatArray = relief[:, low] * (1 - share) + relief[:, high] * share
        return at[len(at) - later :]

    def _value(
        self, others: Sequence[int], known: Known, values_after: FloatArray, lam: float
    ) -> FloatArray:
        """Expected loss of running the newcomer; `values_after` of the old stages after it."""
        new = self.newcomer
        odds = before_features(known) @ new.before - new.caution
        ours, theirs = new.reveals[state_index(others, self.old.stages)].T
        quality = sigmoid(odds[:, None] + ours)
        if others:
            quality = np.maximum(quality, sigmoid(known.best[:, None] + theirs))
        after = np.minimum(
            lam * (1 - quality), values_after.min(axis=1, initial=np.inf)[:, None]
        ).mean(axis=1)
        verified = 1 + self.old.stages.index(others[-1]) if others else 0
        value: FloatArray = new.cost_ratios[verified] * known.cost + after
        return value

    def saving_weights(
        self, held: Sequence[int], drafted: Drafted, lam: float
    ) -> FloatArray | None:
        """See InducedPolicy.saving_weights: nothing was seen of the newcomer's draft growing."""
        if self.newcomer.stage in (*held, drafted.stage):
            return None
        return self.old.saving_weights(held, drafted, lam)

    def saved(
        self, evidence: Evidence, drafted: Drafted, statistics: NDArray[np.floating], lam: float
    ) -> float:
        """See InducedPolicy.saved."""
        if self.newcomer.stage in (drafted.stage, *(draft.stage for draft in evidence.held)):
            return 0.0
        return self.old.saved(evidence, drafted, statistics, lam)

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        new = self.newcomer
        return self.old.to_arrays() | {
            "joined_stage": np.array(new.stage),
            "joined_before": new.before,
            "joined_after": new.after,
            "joined_odds": np.array([new.caution, new.doubt]),
            "joined_reveals": new.reveals,
            "joined_cost_ratios": new.cost_ratios,
            "joined_relief": new.relief,
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.generic]]) -> Self:
        """Raises ArtifactError when shapes do not fit; KeyError when an array is missing."""
        old = InducedPolicy.from_arrays(arrays)
        num_stages = len(old.stages)
        shapes = {
            "stage": (),
            "before": (BEFORE_COLUMNS,),
            "after": (AFTER_COLUMNS,),
            "odds": (2,),
            "reveals": (2**num_stages, NUM_LEVELS, 2),
            "cost_ratios": (1 + num_stages,),
            "relief": (2**num_stages, num_stages, len(old.lam_grid)),
        }
        found = {name: arrays[f"joined_{name}"].astype(np.float64) for name in shapes}
        for name, shape in shapes.items():
            if found[name].shape != shape:
                raise ArtifactError(f"joined_{name} has shape {found[name].shape}, not {shape}.")
        stage = int(found.pop("stage"))
        if stage < 0 or stage in old.stages:
            raise ArtifactError(f"stage {stage} cannot join the stages {old.stages}.")
        caution, doubt = found.pop("odds").tolist()
        return cls(old, Newcomer(stage=stage, caution=caution, doubt=doubt, **found))


def drafted_of(
    state: FloatArray, num_prompt_features: int, num_held: int, place: int
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Of the draft at `place`, read off `state_features`: its log odds by itself, (num_rows,), and
    whether it agrees with each other draft, (num_rows, num_held - 1).
    """
    own = state[:, 1 + num_prompt_features + place]
    num_pairs = num_held * (num_held - 1) // 2
    pairs = state[:, state.shape[1] - 2 - num_pairs : state.shape[1] - 2]
    others = [other for other in range(num_held) if other != place]
    columns = [max(i, place) * (max(i, place) - 1) // 2 + min(i, place) for i in others]
    return own, pairs[:, columns] > 0
