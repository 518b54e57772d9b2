"""Whether the default ladder's recorded answers cost much else on this machine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.errors import DataError
from adaptive_sd.stage import Stage
from adaptive_sd.types import Rates

TOLERANCE = 0.25
"""Relative difference of a stage's mean cost up to which a fit for another machine will do."""


def local_rates(table: OutcomeTable, stages: Sequence[Stage]) -> list[Rates]:
    """This machine's rates of the stages that the table was recorded with. Raises DataError."""
    wanted = [(s.name, s.model_hash) for s in table.stages]
    if wanted != [(s.name, s.model_hash) for s in stages]:
        names = ", ".join(stage.name for stage in stages)
        raise DataError(f"the table was not recorded with the model files of {names}.")
    return [stage.rates or stage.measure_rates() for stage in stages]


def cost_shift(table: OutcomeTable, other: OutcomeTable) -> float:
    """Largest relative change of a stage's mean cost from a table to it at other rates."""
    ratio = other.cost.mean(axis=0) / table.cost.mean(axis=0)
    return float(np.abs(ratio - 1).max())
