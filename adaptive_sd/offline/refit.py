"""The default ladder fitted for this machine, where its answers cost much else here."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from adaptive_sd.artifact import is_recalibrated, keep_copy, load_artifact, save_artifact
from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.errors import ArtifactError, DataError
from adaptive_sd.offline.costs import at_rates
from adaptive_sd.offline.fit import fit_artifact
from adaptive_sd.rates import TOLERANCE
from adaptive_sd.stage import Stage
from adaptive_sd.types import Rates


def refit(
    table: OutcomeTable,
    rates: Sequence[Rates],
    folder: Path,
    *,
    seed: int,
    say: Callable[[str], None],
) -> None:
    """Leave in `folder` a fit for a machine of these rates, or none where the shipped one will do.

    What feedback has recalibrated stays as it is; a copy is kept of what cannot be read. Raises
    DataError as `at_rates` and `fit_artifact` do.
    """
    was_recalibrated, unread = _found(folder)
    if was_recalibrated:
        say(f"{folder}: recalibrated by feedback, so it stays; move it away to fit again")
        return
    here = at_rates(table, rates)
    shift = cost_shift(table, here)
    if shift <= TOLERANCE:
        say(f"costs differ by at most {shift:.0%} here: the shipped fit will do")
        if (folder / "manifest.json").exists():
            _keep(folder, unread, say)
            shutil.rmtree(folder)
            say(f"{folder}: an earlier fit for this machine, removed")
        return
    say(f"costs differ by up to {shift:.0%} here: fitting for this machine")
    fitted, _ = fit_artifact(here, seed=seed)
    _keep(folder, unread, say)
    save_artifact(fitted, folder)
    say(f"{folder}: used from now on")


def _found(folder: Path) -> tuple[bool, str]:
    """Whether the artifact that is there was recalibrated, and why it cannot be read, if so."""
    if not (folder / "manifest.json").exists():
        return False, ""
    try:
        return is_recalibrated(load_artifact(folder)), ""
    except ArtifactError as error:
        return False, str(error)


def _keep(folder: Path, unread: str, say: Callable[[str], None]) -> None:
    """A copy of what cannot be read, before it goes."""
    if unread:
        say(f"{unread} It is kept as {keep_copy(folder)}.")


def local_rates(table: OutcomeTable, stages: Sequence[Stage]) -> list[Rates]:
    """This machine's rates of the stages that the table was recorded with. Raises DataError."""
    wanted = [(s.name, s.model_hash) for s in table.stages]
    if wanted != [(s.name, s.model_hash) for s in stages]:
        names = ", ".join(stage.name for stage in stages)
        raise DataError(
            f"the table was not recorded with the model files of {names}; `adaptive-sd models "
            "verify` tells whether these are whole."
        )
    return [stage.rates or stage.measure_rates() for stage in stages]


def cost_shift(table: OutcomeTable, other: OutcomeTable) -> float:
    """Largest relative change of a stage's mean cost from a table to it at other rates."""
    ratio = other.cost.mean(axis=0) / table.cost.mean(axis=0)
    return float(np.abs(ratio - 1).max())
