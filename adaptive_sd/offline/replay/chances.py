"""What can be told in each state: how good the drafts held are, what later stages would be."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.calibration import sigmoid
from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.folds import make_folds
from adaptive_sd.decision.logistic import fit_logistic_from
from adaptive_sd.decision.ridge import FoldedRidge
from adaptive_sd.decision.states import columns_of, later_stages

FloatArray = NDArray[np.float64]
Held = tuple[int, ...]
NUM_FOLDS = 5


class StateChances(NamedTuple):
    """Estimates for every prompt of a half, in one state."""

    held: FloatArray  # (num_prompts, num_held), quality of the drafts held
    later: FloatArray  # (num_prompts, num_later), quality of each later stage alone
    cost: FloatArray  # (num_prompts, num_later), of running it next


class Chances(NamedTuple):
    """By state: out of fold on the fit half, by what was fitted there on the test half."""

    fit: dict[Held, StateChances]
    test: dict[Held, StateChances]


def fit_chances(fit: FitTable, test: FitTable, *, rng: np.random.Generator) -> Chances:
    """Regressions in each state on the evidence that it has; no decision is looked ahead at.

    A draft held begins at its predictor's estimate, as in the fitted policy.
    """
    folds = make_folds(len(fit.quality), NUM_FOLDS, rng=rng, groups=fit.group)
    stages = range(fit.num_stages)
    chances = Chances({}, {})
    for held in (
        h for size in range(len(stages) + 1) for h in itertools.combinations(stages, size)
    ):
        chances.fit[held], chances.test[held] = _fit_state(fit, test, held, folds)
    return chances


def _fit_state(
    fit: FitTable, test: FitTable, held: Held, folds: NDArray[np.int64]
) -> tuple[StateChances, StateChances]:
    rows, unseen = fit.state(held), test.state(held)
    first_odds = 1 + fit.prompt_features.shape[1]  # see state_features
    starts = [
        fit_logistic_from(rows, fit.quality[:, stage], folds, start=first_odds + place)
        for place, stage in enumerate(held)
    ]
    later = list(later_stages(held, range(fit.num_stages)))
    ridge = FoldedRidge(rows, folds)
    quality = ridge.fit(fit.quality[:, later])
    costs = [fit.cost_of(stage, held) for stage in later]
    cost = ridge.fit(np.stack(costs, axis=1) if costs else np.empty((len(rows), 0)))
    return (
        StateChances(
            columns_of([s.out_of_fold for s in starts], len(rows)),
            np.clip(quality.out_of_fold, 0, 1),
            np.maximum(cost.out_of_fold, 0),
        ),
        StateChances(
            columns_of([sigmoid(unseen @ s.weights) for s in starts], len(unseen)),
            np.clip(unseen @ quality.weights, 0, 1),
            np.maximum(unseen @ cost.weights, 0),
        ),
    )
