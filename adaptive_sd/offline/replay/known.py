"""The textbook rule: chances predicted from the evidence so far, treated as known."""

from __future__ import annotations

import numpy as np

from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.induced import returned_of
from adaptive_sd.decision.loss import loss_of
from adaptive_sd.offline.replay.chances import Chances, Held, StateChances
from adaptive_sd.offline.replay.dials import Dials, Run
from adaptive_sd.offline.replay.halves import Halves
from adaptive_sd.offline.replay.over_lams import rule_over_lams
from adaptive_sd.offline.replay.walk import STOP, IntArray, Move, walk


def known_p(halves: Halves, chances: Chances) -> Dials:
    """Solved again after each draft; the weight of quality is the dial."""
    return rule_over_lams(
        halves,
        lambda lam: run_known_p(halves.fit, chances.fit, lam),
        lambda lam: run_known_p(halves.test, chances.test, lam),
    )


def run_known_p(table: FitTable, chances: dict[Held, StateChances], lam: float) -> Run:
    """As KnownPPolicy: stop, or go to the one later stage of the least cost + lam * (1 - p)."""

    def rule(held: Held, rows: IntArray) -> Move:
        state = StateChances(*(estimates[rows] for estimates in chances[held]))
        return cheapest_move(held, state.held, loss_of(state.cost, state.later, lam), lam)

    return walk(table, rule)


def cheapest_move(held: Held, held_quality: np.ndarray, losses: np.ndarray, lam: float) -> Move:
    """The least expected loss; ties stop, and go on to the smaller stage.

    `losses` (num_rows, num_later) are of going on with each later stage.
    """
    num_rows = len(losses)
    first = held[-1] + 1 if held else 0
    later = np.array([*range(first, first + losses.shape[1]), STOP])
    best = losses.argmin(axis=1) if losses.shape[1] else np.full(num_rows, -1)
    if not held:
        return Move(later[best], np.full(num_rows, -1))
    returned = returned_of(held, held_quality)
    stops = loss_of(0.0, held_quality.max(axis=1), lam) <= losses.min(axis=1, initial=np.inf)
    return Move(np.where(stops, STOP, later[best]), returned)
