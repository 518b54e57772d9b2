"""Ladders of different lengths from one recording: stages taken out, a vote put on top."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.calibration import Interval
from adaptive_sd.errors import DataError
from adaptive_sd.offline.replay.curve import upper_hull
from adaptive_sd.offline.replay.dials import Dials
from adaptive_sd.offline.replay.field import Field
from adaptive_sd.offline.replay.measure import Prompts, all_means, interval
from adaptive_sd.offline.replay.report import ReplayReport
from adaptive_sd.offline.studies.vote import count_votes
from adaptive_sd.stage_record import StageRecord

FloatArray = NDArray[np.float64]
POLICIES = ("best_pair", "adaptive")
_PER_PROMPT = ("split", "prompt", "category", "dataset")


class LadderRun(NamedTuple):
    """One ladder's replay; of ladders of the same prompts the resamples are the same."""

    report: ReplayReport
    dials: Mapping[str, Dials]  # by policy
    prompts: Prompts


class Lead(NamedTuple):
    """The ladder of most quality, and how much more that is than each other's: paired."""

    name: str
    over: Mapping[str, Interval]

    @property
    def is_shown(self) -> bool:
        return all(difference.low > 0 for difference in self.over.values())


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


def run_ladder(table: OutcomeTable, *, num_resamples: int, seed: int) -> LadderRun:
    """POLICIES fitted and measured as `replay` does."""
    with threadpool_limits(limits=1):
        field = Field(table, None, seed=seed)
        return LadderRun(
            field.report(POLICIES, num_resamples),
            {name: field.dials(name) for name in POLICIES},
            field.prompts(num_resamples),
        )


def qualities_at(dials: Dials, prompts: Prompts, budget: float) -> FloatArray:
    """Quality at a mean cost, on the upper hull of a policy's points: (1 + num_resamples,).

    On the prompts as they are, nan where the budget is left of all points; then in each resample,
    where the first point counts left of it too.
    """
    cost, quality = (all_means(side.T, prompts) for side in (dials.cost, dials.quality))
    hulls = [upper_hull(c, q) for c, q in zip(cost, quality, strict=True)]
    found = np.array([np.interp(budget, corners, heights) for corners, heights in hulls])
    if budget < hulls[0][0][0]:
        found[0] = np.nan
    return found


def lead_at(budget: float, ladders: Mapping[str, Dials], prompts: Prompts) -> Lead | None:
    """Of a policy on ladders of the same prompts; None where no ladder is as cheap."""
    found = {name: qualities_at(dials, prompts, budget) for name, dials in ladders.items()}
    reached = {name: values for name, values in found.items() if not np.isnan(values[0])}
    if not reached:
        return None
    best = max(reached, key=lambda name: float(reached[name][0]))
    others = {name: values for name, values in reached.items() if name != best}
    return Lead(best, {name: interval(reached[best] - v) for name, v in others.items()})
