"""Ladders of different lengths from one recording: stages taken out, a vote put on top."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.errors import DataError
from adaptive_sd.offline.replay.curve import upper_hull
from adaptive_sd.offline.replay.measure import PolicyReport
from adaptive_sd.offline.studies.vote import count_votes
from adaptive_sd.types import StageRecord

_PER_PROMPT = ("split", "prompt", "category", "dataset")


def take_stages(table: OutcomeTable, names: Sequence[str]) -> OutcomeTable:
    """The ladder of some of the stages, in the order of the table. Raises DataError."""
    known = [stage.name for stage in table.stages]
    if missing := [name for name in names if name not in known]:
        raise DataError(f"no stage {missing[0]!r}; the table has {', '.join(known)}.")
    kept = [k for k, name in enumerate(known) if name in names]
    dropped = {name for name in known if name not in names}
    return replace(
        table,
        stages=tuple(table.stages[k] for k in kept),
        quality=table.quality[:, kept],
        cost=table.cost[:, kept],
        columns={
            name: values[:, kept]
            for name, values in table.columns.items()
            if name.partition("_after_")[2] not in dropped
        },
    )


def add_vote(table: OutcomeTable, votes: OutcomeTable, count: int) -> OutcomeTable:
    """The prompts that both have, with the vote of `count` answers as the last stage.

    Raises DataError where the two share no prompt.
    """
    place = {prompt_id: n for n, prompt_id in enumerate(votes.prompt_ids)}
    rows = np.array([n for n, i in enumerate(table.prompt_ids) if i in place], dtype=np.int64)
    if not len(rows):
        raise DataError("the two tables share no prompt.")
    table = table.take(rows)
    found = count_votes(votes.take(np.array([place[i] for i in table.prompt_ids])), count)
    name = f"{votes.stages[0].name.partition('#')[0]}, {count} in steps"
    given = {"answer": np.array(found.answer, dtype=object)}
    return replace(
        table,
        stages=(*table.stages, StageRecord(name, model=votes.stages[0].model)),
        quality=np.column_stack([table.quality, found.quality]),
        cost=np.column_stack([table.cost, found.cost]),
        columns={
            key: _with_last(values, values[:, 0] if key in _PER_PROMPT else given.get(key))
            for key, values in table.columns.items()
        },
    )


def _with_last(
    values: NDArray[np.generic], last: NDArray[np.generic] | None
) -> NDArray[np.generic]:
    """One more column; where nothing is known of it, of what stands for nothing."""
    if last is None:
        empty = None if values.dtype == object else np.nan
        last = np.full(len(values), empty, dtype=object if empty is None else np.float64)
    return np.column_stack([values, last])


def quality_at(report: PolicyReport, budget: float) -> float | None:
    """Quality on the upper hull of a policy's points at a mean cost; None left of all points."""
    cost, quality = (np.array([getattr(p, n) for p in report.points]) for n in ("cost", "quality"))
    corners, heights = upper_hull(cost, quality)
    return float(np.interp(budget, corners, heights)) if budget >= corners[0] else None
