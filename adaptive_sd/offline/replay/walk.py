"""Follows a rule through the subsets of stages held, many prompts at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.offline.replay.dials import Run

IntArray = NDArray[np.int64]
STOP = -1


class Move(NamedTuple):
    """What to do in one state, for each prompt in it."""

    next_stage: IntArray  # (num_rows,), STOP where it ends
    returned: IntArray  # (num_rows,), the stage whose draft is returned where it ends


Rule = Callable[[tuple[int, ...], IntArray], Move]
"""Called with the stages held and the prompts (rows of the table) that hold them."""


def walk(table: FitTable, rule: Rule) -> Run:
    """From no draft on every prompt until the rule stops on each."""
    num_prompts = len(table.quality)
    run = Run(np.zeros(num_prompts), np.zeros(num_prompts), np.zeros(num_prompts))
    waiting: list[tuple[tuple[int, ...], IntArray]] = [((), np.arange(num_prompts))]
    while waiting:
        held, rows = waiting.pop()
        move = rule(held, rows)
        ends = move.next_stage == STOP
        run.quality[rows[ends]] = table.quality[rows[ends], move.returned[ends]]
        run.escalated[rows[ends]] = float(len(held) > 1)
        for stage in np.unique(move.next_stage[~ends]).tolist():
            chosen = rows[move.next_stage == stage]
            run.cost[chosen] += table.cost_of(stage, held)[chosen]
            waiting.append(((*held, stage), chosen))
    return run
