"""Where prompts stop and how they escalate, at one lambda of the fitted policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.paths import Path, follow
from adaptive_sd.offline.replay.adaptive import run_adaptive
from adaptive_sd.offline.replay.field import Subject

FloatArray = NDArray[np.float64]

_GROUPINGS = ("dataset", "category")
_MAX_GROUPS = 14
_LEAST_PROMPTS = 5
"""Of one grouping; smaller groups and those beyond are counted together."""


@dataclass(frozen=True, slots=True, eq=False)
class StopRow:
    """One group of prompts; shares are of its prompts."""

    grouping: str  # "", "dataset" or "category"
    group: str
    num_prompts: int
    stopped: FloatArray  # (num_stages,), share whose last stage was this; sums to 1
    escalated: float  # share on which more than one stage ran
    recalled: float  # share answered with an earlier draft than the last
    quality: float
    cost: float


@dataclass(frozen=True, slots=True, eq=False)
class Flow:
    """`shares[i, j]`: of the prompts that come from i, the share that goes on to j.

    Rows: before any draft, then after each stage; columns: each stage, then to stop. A row sums to
    1, or is nan where no prompt comes. `counts` are the prompts of each row.
    """

    paths: tuple[Path, ...]
    stops: tuple[StopRow, ...]
    shares: FloatArray  # (num_stages + 1, num_stages + 1)
    counts: NDArray[np.int64]  # (num_stages + 1,)


def make_flow(subject: Subject, lam: float) -> Flow:
    paths = follow(subject.policy, subject.table, lam)
    run = next(run_adaptive(subject.policy, subject.table, [lam]))
    num_stages = subject.table.num_stages

    def row(grouping: str, group: str, rows: NDArray[np.int64]) -> StopRow:
        chosen = [paths[n] for n in rows]
        last = [path.stages[-1] for path in chosen]
        return StopRow(
            grouping=grouping,
            group=group,
            num_prompts=len(rows),
            stopped=np.bincount(last, minlength=num_stages) / len(rows),
            escalated=float(run.escalated[rows].mean()),
            recalled=float(np.mean([path.returned != path.stages[-1] for path in chosen])),
            quality=float(run.quality[rows].mean()),
            cost=float(run.cost[rows].mean()),
        )

    stops = [row("", "all prompts", np.arange(len(paths)))]
    for grouping, groups in _groupings(subject.outcomes).items():
        stops += [row(grouping, group, rows) for group, rows in groups.items()]
    moves = _moves(paths, num_stages)
    counts = moves.sum(axis=1)
    with np.errstate(invalid="ignore"):
        shares = moves / counts[:, None]
    return Flow(tuple(paths), tuple(stops), shares, counts)


def _moves(paths: Sequence[Path], num_stages: int) -> NDArray[np.int64]:
    """How many prompts go from where to where; see Flow."""
    moves = np.zeros((num_stages + 1, num_stages + 1), dtype=np.int64)
    for path in paths:
        for before, after in zip((-1, *path.stages), (*path.stages, num_stages), strict=True):
            moves[before + 1, after] += 1
    return moves


def _groupings(outcomes: OutcomeTable) -> dict[str, dict[str, NDArray[np.int64]]]:
    """Rows of each group of each column that tells prompts apart, largest group first."""
    found: dict[str, dict[str, NDArray[np.int64]]] = {}
    for name in _GROUPINGS:
        column = outcomes.columns.get(name)
        if column is None:
            continue
        values, place = np.unique(column[:, 0].astype(str), return_inverse=True)
        rows = {str(value): np.flatnonzero(place == i) for i, value in enumerate(values)}
        order = sorted(rows, key=lambda value: (-len(rows[value]), value))
        large = [value for value in order[:_MAX_GROUPS] if len(rows[value]) >= _LEAST_PROMPTS]
        groups = {value: rows[value] for value in large}
        if rest := order[len(large) :]:
            groups[f"{len(rest)} others"] = np.sort(np.concatenate([rows[v] for v in rest]))
        same = any(_same(groups, other) for other in found.values())
        if len(groups) > 1 and not same:
            found[name] = groups
    return found


def _same(groups: dict[str, NDArray[np.int64]], other: dict[str, NDArray[np.int64]]) -> bool:
    return {tuple(rows) for rows in groups.values()} == {tuple(rows) for rows in other.values()}
