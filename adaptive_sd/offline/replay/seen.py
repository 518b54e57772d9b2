"""A table as an artifact sees it, and which of its prompts can measure the artifact."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.artifact import Artifact
from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.induction import FitTable
from adaptive_sd.errors import DataError
from adaptive_sd.offline.fit import data_hash, fit_part
from adaptive_sd.offline.prompts import prompt_hashes
from adaptive_sd.offline.replay.halves import see


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """An artifact, and all prompts of a table as its predictors see them.

    `was_fitted_on` (num_prompts,) is as far as texts tell; `measurable` are rows that `unseen` has.
    """

    artifact: Artifact
    table: FitTable
    was_fitted_on: NDArray[np.bool_]
    measurable: NDArray[np.int64]


def see_with(artifact: Artifact, table: OutcomeTable) -> Seen:
    """Raises DataError as `unseen` does."""
    known = was_fitted_on(artifact, table)
    measurable = unseen(artifact, table)
    return Seen(artifact, seen_by(artifact, table), known, measurable)


def seen_by(artifact: Artifact, table: OutcomeTable) -> FitTable:
    """The table as an artifact's own predictors see it."""
    return see(table, artifact.predictors, artifact.projections)


def unseen(artifact: Artifact, table: OutcomeTable) -> NDArray[np.int64]:
    """The prompts to report on: those to test on by the column `split`, or all.

    Of the very table that the artifact was fitted on, those are left out whose text it was fitted
    on. Raises DataError where it was fitted on prompts to report on of another table, where none is
    left, and for another ladder.
    """
    ours, theirs = ([stage.name for stage in side.stages] for side in (artifact, table))
    if ours != theirs:
        raise DataError(
            f"the artifact is fitted for {', '.join(ours)}; the table has {', '.join(theirs)}."
        )
    is_fit = table.is_fit()
    reported = np.arange(len(table.prompt_ids)) if is_fit is None else np.flatnonzero(~is_fit)
    known = was_fitted_on(artifact, table)[reported]
    if known.any() and (known.all() or not is_own(artifact, table)):
        raise DataError(
            f"{known.sum()} of {len(known)} prompts of the table to measure on are among those "
            "that the artifact was fitted on; replay it on others, or leave out --artifact: then "
            "one half is fitted on and the other measured."
        )
    return reported[~known]


def was_fitted_on(artifact: Artifact, table: OutcomeTable) -> NDArray[np.bool_]:
    """Which prompts of the table, shape (num_prompts,): by their texts; its own without any too."""
    fitted = set(artifact.prompt_hashes)
    known = np.array([found in fitted for found in prompt_hashes(table)], dtype=np.bool_)
    if is_own(artifact, table):
        is_fit = table.is_fit()
        known |= True if is_fit is None else is_fit
    return known


def is_own(artifact: Artifact, table: OutcomeTable) -> bool:
    """Whether the artifact was fitted on exactly this table."""
    return data_hash(fit_part(table)) == artifact.data_hash
