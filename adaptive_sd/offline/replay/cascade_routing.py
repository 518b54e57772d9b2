"""Cascade routing, from the idea of arXiv 2410.10347: route, run one stage, route again.

Before every step each superset of the stages run so far is a candidate. What it is worth is the
expected best of its stages' estimates, as they will be once those stages have run, less its cost;
the next stage of the best superset runs, and where that is the set already run, it ends.

Simplified against the paper: stages run in the order of the ladder; what an estimate will move by
is normal, of one deviation for each state and stage, and independent between stages; the weight of
quality is the dial, and no pair of weights is tuned to a budget (the hull of the points does it).
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.loss import loss_of
from adaptive_sd.decision.states import later_stages
from adaptive_sd.offline.replay.chances import Chances, Held, StateChances
from adaptive_sd.offline.replay.dials import Dials, Run
from adaptive_sd.offline.replay.halves import Halves
from adaptive_sd.offline.replay.known import cheapest_move
from adaptive_sd.offline.replay.over_lams import rule_over_lams
from adaptive_sd.offline.replay.walk import IntArray, Move, walk

FloatArray = NDArray[np.float64]
NUM_DRAWS = 32


def cascade_routing(halves: Halves, chances: Chances, *, rng: np.random.Generator) -> Dials:
    draws = rng.normal(size=(NUM_DRAWS, halves.fit.num_stages))
    moves = deviations(chances.fit, halves.fit.num_stages)
    fit, test = (
        {held: Supersets(state, held, moves[held], draws) for held, state in half.items()}
        for half in chances
    )
    return rule_over_lams(
        halves,
        lambda lam: run_cascade_routing(halves.fit, chances.fit, fit, lam),
        lambda lam: run_cascade_routing(halves.test, chances.test, test, lam),
    )


def deviations(chances: dict[Held, StateChances], num_stages: int) -> dict[Held, FloatArray]:
    """How far each later stage's estimate moves when that stage has run, in each state."""
    return {
        held: np.array(
            [
                np.std(chances[*held, stage].held[:, -1] - state.later[:, place])
                for place, stage in enumerate(later_stages(held, range(num_stages)))
            ]
        )
        for held, state in chances.items()
    }


class Supersets:
    """Expected quality and cost of each set of later stages, in one state."""

    def __init__(
        self, state: StateChances, held: Held, deviation: FloatArray, draws: FloatArray
    ) -> None:
        """`deviation` (num_later,), `draws` (num_draws, num_stages) standard normal."""
        num_later = state.later.shape[1]
        self._first: list[int] = []
        self._quality: list[FloatArray] = []
        self._cost: list[FloatArray] = []
        sure = state.held.max(axis=1, initial=0.0)[:, None]
        noise = draws[:, draws.shape[1] - num_later :] * deviation
        outcome = np.clip(state.later[:, None, :] + noise, 0, 1)
        for size in range(1, num_later + 1):
            for added in itertools.combinations(range(num_later), size):
                best = np.maximum(sure, outcome[:, :, list(added)].max(axis=2))
                self._first.append(added[0])
                self._quality.append(best.mean(axis=1))
                self._cost.append(state.cost[:, list(added)].sum(axis=1))
        self.num_later = num_later

    def losses(self, rows: IntArray, lam: float) -> FloatArray:
        """Of the best superset that begins with each later stage, shape (num_rows, num_later)."""
        losses = np.full((len(rows), self.num_later), np.inf)
        for first, quality, cost in zip(self._first, self._quality, self._cost, strict=True):
            loss = loss_of(cost[rows], quality[rows], lam)
            losses[:, first] = np.minimum(losses[:, first], loss)
        return losses


def run_cascade_routing(
    table: FitTable,
    chances: dict[Held, StateChances],
    supersets: dict[Held, Supersets],
    lam: float,
) -> Run:
    def rule(held: Held, rows: IntArray) -> Move:
        return cheapest_move(held, chances[held].held[rows], supersets[held].losses(rows, lam), lam)

    return walk(table, rule)
