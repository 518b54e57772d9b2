"""A table as an artifact sees it, and which of its prompts can measure the artifact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.artifact import Artifact
from adaptive_sd.data.outcomes import TOKENS, OutcomeTable
from adaptive_sd.decision.calibration import logit
from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.recalibration import Shift
from adaptive_sd.errors import DataError
from adaptive_sd.offline.fit import data_hash, fit_part
from adaptive_sd.offline.prompts import prompt_hashes
from adaptive_sd.offline.replay.halves import see
from adaptive_sd.stage_record import StageRecord


class Overlap(NamedTuple):
    """What an artifact has seen of a table.

    `measurable` are the rows to report on: those to test on by the column `split`, or all. It is
    not `checked` where neither texts nor outcomes can tell.
    """

    was_fitted_on: NDArray[np.bool_]  # (num_prompts,)
    measurable: NDArray[np.int64]
    checked: bool


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """An artifact, and all prompts of a table as its predictors see them."""

    artifact: Artifact
    table: FitTable
    overlap: Overlap


def unread(artifact: Artifact | None) -> tuple[str, ...]:
    """Columns that a replay does not look at, by how their names begin; see read_outcomes.

    Where an artifact's predictors do without hidden states, so do those that it is compared with.
    """
    if artifact is None or any(projection is not None for projection in artifact.projections):
        return TOKENS
    return (*TOKENS, "hidden")


def see_with(artifact: Artifact, table: OutcomeTable) -> Seen:
    """Raises DataError as `find_overlap` does."""
    overlap = find_overlap(artifact, table)
    return Seen(artifact, seen_by(artifact, table), overlap)


def seen_by(artifact: Artifact, table: OutcomeTable) -> FitTable:
    """The table as an artifact's own predictors see it, and what feedback has added."""
    return shifted_by(artifact.shifts, see(table, artifact.predictors, artifact.projections))


def shifted_by(shifts: Sequence[Shift], table: FitTable) -> FitTable:
    """With what was learned of each stage; () where nothing was."""
    if not shifts:
        return table
    added = [s.added(odds) for s, odds in zip(shifts, logit(table.estimates).T, strict=True)]
    return replace(table, shift=np.stack(added, axis=1))


def find_overlap(artifact: Artifact, table: OutcomeTable) -> Overlap:
    """Prompts are known by their texts; of the very table of the fit, without any too.

    Of that table, rows to report on whose text was fitted on are left out. Raises DataError where
    another table has such rows, where none is left, and for another ladder.
    """
    check_ladder(artifact.stages, table.stages)
    is_fit = table.is_fit()
    is_own = data_hash(fit_part(table)) == artifact.data_hash
    hashes, seen = prompt_hashes(table), artifact.seen_hashes
    known = np.array([found in seen for found in hashes], dtype=np.bool_)
    if is_own:
        known |= True if is_fit is None else is_fit
    reported = np.arange(len(known)) if is_fit is None else np.flatnonzero(~is_fit)
    left = reported[~known[reported]]
    if not len(left) or (len(left) < len(reported) and not is_own):
        raise DataError(
            f"{len(reported) - len(left)} of {len(reported)} prompts of the table to measure on "
            "are among those that the artifact was fitted on or recalibrated by; replay it on "
            "others, or leave out --artifact: then one half is fitted on and the other measured."
        )
    return Overlap(known, left, checked=is_own or any(hashes))


def check_ladder(ours: Sequence[StageRecord], theirs: Sequence[StageRecord]) -> None:
    """The same names; and the same model files, asked in the same styles, where both tell."""
    names, others = ([stage.name for stage in side] for side in (ours, theirs))
    if names != others:
        raise DataError(
            f"the artifact is fitted for {', '.join(names)}; the table has {', '.join(others)}."
        )
    for own, other in zip(ours, theirs, strict=True):
        if not own.model_hash or not other.model_hash:
            continue
        for what, value, found in (
            ("model file", own.model_hash, other.model_hash),
            ("prompt styles", dict(own.styles), dict(other.styles)),
        ):
            if value != found:
                raise DataError(
                    f"{own.name}: the artifact is fitted for other {what} than the table was "
                    "recorded with; fit one on this table, or leave out --artifact."
                )
