"""States of a policy, which are subsets of stages held, and what is known in each."""

from __future__ import annotations

import bisect
import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.calibration import logit
from adaptive_sd.decision.features import FEATURE_NAMES, agree
from adaptive_sd.decision.policies import Evidence, HeldDraft

FloatArray = NDArray[np.float64]

STATE_STATISTICS = (
    "logprob_mean",
    "logprob_q10",
    "entropy_mean",
    "margin_mean",
    "log_tokens_out",
    "log_tokens_in",
    "finished_by_length",
    "repeated_4grams",
    "no_answer",
)
"""Features of the last draft that tell what going on is worth, beyond its quality."""

ODDS_MARGIN = 0.01
"""Chances are kept so far from 0 and 1 where their log odds are evidence."""

STATE_COLUMNS = np.array([FEATURE_NAMES.index(name) for name in STATE_STATISTICS])

_LENGTHS = [STATE_STATISTICS.index(name) for name in ("log_tokens_out", "log_tokens_in")]


StateOf = Callable[[Sequence[int]], FloatArray]
"""Features of rows, (num_rows, num_state_features), with some of the stages held."""


def state_index(held: Sequence[int], stages: Sequence[int]) -> int:
    return sum(1 << stages.index(stage) for stage in held)


def held_of(index: int, stages: Sequence[int]) -> tuple[int, ...]:
    """The stages held in the state of this index."""
    return tuple(stage for place, stage in enumerate(stages) if index >> place & 1)


def later_stages(held: Sequence[int], stages: Sequence[int]) -> Sequence[int]:
    """Those of the ascending `stages` that can still run: above the last one held."""
    return stages[bisect.bisect_right(stages, held[-1]) :] if held else stages


def last_of(values: FloatArray, count: int) -> FloatArray:
    """Of so many later stages, among all that may run."""
    return values[len(values) - count :]


def may_abandon(held: Sequence[int], stages: Sequence[int]) -> Sequence[int]:
    """The next stages without whose draft an answer can still be had."""
    later = later_stages(held, stages)
    return later if held else later[:-1]


def state_reader(evidence: Evidence) -> StateOf:
    """Of one row, the evidence; each state is made once."""

    made: dict[Sequence[int], FloatArray] = {}

    def state_of(stages: Sequence[int]) -> FloatArray:
        if stages not in made:
            held = [draft for draft in evidence.held if draft.stage in stages]
            made[stages] = state_of_held(held, evidence)
        return made[stages]

    return state_of


def state_of_held(held: Sequence[HeldDraft], evidence: Evidence) -> FloatArray:
    """The features of the state with these drafts held, one row."""
    return state_features(
        evidence.features[None],
        np.array([[draft.quality for draft in held]]),
        np.array([_agreements([draft.answer for draft in held])]),
        held[-1].features[STATE_COLUMNS][None] if held else np.empty((1, 0), dtype=np.float32),
    )


def partial_features(state: FloatArray, statistics: NDArray[np.floating]) -> FloatArray:
    """What tells whether to abandon a draft: the state it is made in, and its first tokens."""
    return np.concatenate([state, statistics], axis=1)


def state_features(
    prompt: NDArray[np.floating],
    quality: FloatArray,
    agreement: NDArray[np.floating],
    statistics: NDArray[np.floating],
) -> FloatArray:
    """Evidence in one state, a row each: shapes (num_rows, prompt features), (num_rows, held),
    (num_rows, pairs of held) in the order (0,1), (0,2), (1,2), ... and (num_rows, statistics).
    Log odds come multiplied by each other, by agreements and by lengths too.
    """
    num_rows, num_held = quality.shape
    columns = [np.ones((num_rows, 1)), prompt]
    if num_held:
        odds = logit(quality, ODDS_MARGIN)
        columns += [odds, quality, statistics]
    if num_held > 1:
        agrees = agreement[:, 1 - num_held :].max(axis=1, keepdims=True)
        last = odds[:, -1:]
        columns += [quality.max(axis=1, keepdims=True), agreement, agrees, agrees * last]
    if num_held:
        columns.append(_products(odds, np.concatenate([agreement, statistics[:, _LENGTHS]], 1)))
    return np.concatenate(columns, axis=1)


def _products(odds: FloatArray, others: FloatArray) -> FloatArray:
    """Of all pairs of odds, squares among them, and of each of the odds with each of the others.

    Not of lengths: a square that fits recorded lengths says anything of longer ones.
    """
    left, right = _pairs(odds.shape[1])
    own, other = _crossed(odds.shape[1], others.shape[1])
    return np.concatenate([odds[:, left] * odds[:, right], odds[:, own] * others[:, other]], axis=1)


@functools.cache
def _pairs(num_columns: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return np.triu_indices(num_columns)


@functools.cache
def _crossed(num_odds: int, num_others: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    own, other = np.indices((num_odds, num_others)).reshape(2, -1)
    return own, other


def drafted_of(
    state: FloatArray, num_prompt_features: int, num_held: int, place: int
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Of the draft at `place`, read off `state_features`: its log odds by itself, (num_rows,), and
    whether it agrees with each other draft, (num_rows, num_held - 1).
    """
    own = state[:, 1 + num_prompt_features + place]
    first = 2 + num_prompt_features + 2 * num_held + len(STATE_STATISTICS)
    pairs = state[:, first : first + num_held * (num_held - 1) // 2]
    others = [other for other in range(num_held) if other != place]
    columns = [max(i, place) * (max(i, place) - 1) // 2 + min(i, place) for i in others]
    return own, pairs[:, columns] > 0


def num_features(num_prompt_features: int, num_held: int) -> int:
    no_rows = (
        np.empty((0, num_prompt_features)),
        np.empty((0, num_held)),
        np.empty((0, num_held * (num_held - 1) // 2)),
        np.empty((0, len(STATE_STATISTICS))),
    )
    return int(state_features(*no_rows).shape[1])


class StateFit(NamedTuple):
    """A state as it was fitted, its estimates out of fold.

    `go` and `weights`, which are of it, say of running each later stage and following the policy:
    first the quality in the end, with drafts held its gain over the best one's, then the cost from
    here. At lambdas where the myopic rule lost less, following means to return that stage's draft.
    """

    held: tuple[int, ...]
    stop: FloatArray  # (num_prompts, num_held), quality of each draft
    go: NDArray[np.float32]  # (num_prompts, num_later, 2, num_lams)
    odds: FloatArray  # (num_state_features, num_held), weights of log odds
    weights: FloatArray  # (num_state_features, num_later, 2, num_lams)

    @property
    def all_weights(self) -> FloatArray:
        """As InducedPolicy has them."""
        return np.concatenate([self.odds, self.weights.reshape(len(self.weights), -1)], axis=1)


def columns_of(columns: Sequence[FloatArray], num_rows: int) -> FloatArray:
    """Side by side, shape (num_rows, num_columns); there may be none."""
    return np.stack(columns, axis=1) if columns else np.empty((num_rows, 0))


def _agreements(answers: Sequence[str]) -> list[float]:
    return [float(agree(answers[j], answers[i])) for j in range(len(answers)) for i in range(j)]
