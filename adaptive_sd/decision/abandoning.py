"""Fits when to abandon a draft that grows: where by its first tokens going on does not pay."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.noise import NOISE, noise_units
from adaptive_sd.decision.partial import WHOLE, Drafted
from adaptive_sd.decision.realised import Outcome, Tried
from adaptive_sd.decision.ridge import FoldedRidge
from adaptive_sd.decision.states import partial_features

FloatArray = NDArray[np.float64]

MIN_PROMPTS = 50
"""With fewer drafts that come to a checkpoint nothing is learned there."""

_MIN_ABANDONED = 10
"""Of fewer prompts the mean says nothing about noise."""


class Growing(NamedTuple):
    """A draft of `stage` in one state; `offered` is what the stage may verify meanwhile.

    `begins` is where the policy would begin it, were it never abandoned. `instead` gives what is
    done without the draft once it has come to a checkpoint: all from there on, by the estimates of
    the state alone.
    """

    stage: int
    state: FloatArray  # (num_prompts, num_state_features)
    offered: Drafted | None
    begins: NDArray[np.bool_]  # (num_prompts, num_lams)
    instead: Callable[[Drafted], Outcome]


class Abandoning(NamedTuple):
    """`savings` has weights for the checkpoints where abandoning pays; see InducedPolicy."""

    tried: Tried
    savings: dict[int, FloatArray]


def fit_abandoning(
    table: FitTable, folds: NDArray[np.int64], draft: Growing, whole: Outcome, lams: FloatArray
) -> Abandoning:
    """`whole` is what follows the whole draft.

    From the last checkpoint to the first, the loss that abandoning there would have saved is
    regressed on what is known there; it is what was *realised*, later checkpoints included. Where
    the estimate, out of fold, is above 0 the draft is abandoned; at lambdas where that has not
    saved anything on the other folds, beyond NOISE, none is: of drafts that would be begun.
    """
    assert table.part_statistics is not None  # else nothing is known of a draft that grows
    stage = draft.stage
    place = np.full(whole.quality.shape, WHOLE, dtype=np.int8)
    tried = Tried(stage, deepcopy(whole), place)
    savings: dict[int, FloatArray] = {}
    for at in reversed(range(WHOLE)):
        rows = np.flatnonzero(table.reaches(stage, at))
        if len(rows) < MIN_PROMPTS:
            continue
        part = Drafted(stage, at)
        instead = draft.instead(part)
        going_on = tried.outcome(table, draft.offered).losses(lams)[rows]
        abandoning = instead.losses(lams)[rows] + table.cost_to(part, draft.offered)[rows, None]
        known = partial_features(draft.state[rows], table.part_statistics[rows, stage, at])
        fit = FoldedRidge(known, folds[rows]).fit(going_on - abandoning)
        wanted = fit.out_of_fold > 0
        counted = wanted & draft.begins[rows]
        followed = np.where(counted, abandoning, going_on)
        group = None if table.group is None else table.group[rows]
        pays = _pays(going_on, followed, counted, group)
        if pays.any():
            savings[at] = np.where(pays, fit.weights, 0.0)
        abandoned = np.zeros(place.shape, dtype=np.bool_)
        abandoned[rows] = wanted & _pays_elsewhere(
            *(going_on, followed, counted, group), folds[rows]
        )
        tried.after.put(abandoned, instead)
        place[abandoned] = at
    return Abandoning(tried, savings)


def _pays(
    going_on: FloatArray,
    followed: FloatArray,
    abandoned: NDArray[np.bool_],
    group: NDArray[np.int64] | None,
) -> NDArray[np.bool_]:
    """At each lambda, whether losses are lower with what was abandoned, beyond noise."""
    enough = abandoned.sum(axis=0) >= _MIN_ABANDONED
    pays: NDArray[np.bool_] = enough & (noise_units(going_on, followed, group) > NOISE)
    return pays


def _pays_elsewhere(
    going_on: FloatArray,
    followed: FloatArray,
    abandoned: NDArray[np.bool_],
    group: NDArray[np.int64] | None,
    folds: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Of each prompt, whether it does so on the prompts of the other folds."""
    pays = np.empty_like(abandoned)
    for fold in np.unique(folds):
        own, others = folds == fold, folds != fold
        group_of = None if group is None else group[others]
        pays[own] = _pays(going_on[others], followed[others], abandoned[others], group_of)
    return pays
