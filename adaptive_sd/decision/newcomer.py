"""A stage that joined a fitted ladder, by what few graded prompts tell of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.calibration import logit
from adaptive_sd.decision.induced import InducedPolicy
from adaptive_sd.decision.states import ODDS_MARGIN, StateOf, state_index

FloatArray = NDArray[np.float64]

NUM_LEVELS = 9
BEFORE_COLUMNS = 3
AFTER_COLUMNS = 7


@dataclass(frozen=True, slots=True, eq=False)
class Newcomer:
    """What few graded prompts tell of the stage that joined.

    `before` and `after` are weights of the log odds that its draft is right, of `before_features`
    and `after_features`; both are lowered by `caution`, which falls as evidence comes in. In each
    state of the old policy its draft is expected to move its own log odds and the highest of the
    drafts held by one of the pairs of `reveals`, all equally likely; `doubt` is the weight of its
    `contradiction` of other answers. It costs `cost_ratios` times the mean of the other stages on a
    prompt: with nothing to verify, then after each of the old policy's stages. `relief` is the
    expected loss that it saves after each of them has run in a state: old values do not know that
    it can run then. It `runs` around those lambdas of the grid where the graded prompts show that
    this pays.
    """

    stage: int
    before: FloatArray  # (BEFORE_COLUMNS,)
    after: FloatArray  # (AFTER_COLUMNS,)
    caution: float
    reveals: FloatArray  # (num_states, NUM_LEVELS, 2)
    doubt: float
    cost_ratios: FloatArray  # (1 + num_old_stages,)
    relief: FloatArray  # (num_states, num_old_stages, num_lams)
    runs: NDArray[np.bool_]  # (num_lams,)


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
    first = old.estimate((), state_of, 0.0)  # at lambda 0 nothing follows a first draft
    ease = logit(first.quality_go[:, places, 0], ODDS_MARGIN).mean(axis=1)
    odds = state_of(held) @ old.weights[state_index(held, old.stages)][:, : len(held)]
    return Known(ease, first.cost_go[:, places, 0].mean(axis=1), odds)


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
