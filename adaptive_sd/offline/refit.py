"""Whether the default ladder's recorded answers cost much else on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from adaptive_sd.errors import DataError
from adaptive_sd.stage import Stage
from adaptive_sd.types import Rates

if TYPE_CHECKING:
    from adaptive_sd.data.outcomes import OutcomeTable  # loads pyarrow: not for `record`

TOLERANCE = 0.25
"""Relative difference of a stage's mean cost up to which a fit for another machine will do."""


def local_rates(table: OutcomeTable, stages: Sequence[Stage]) -> list[Rates]:
    """This machine's rates of the stages that the table was recorded with. Raises DataError."""
    wanted = [(s.name, s.model_hash) for s in table.stages]
    if wanted != [(s.name, s.model_hash) for s in stages]:
        names = ", ".join(stage.name for stage in stages)
        raise DataError(f"the table was not recorded with the model files of {names}.")
    return [stage.rates or stage.measure_rates() for stage in stages]


def differ(rates: Rates, other: Rates) -> bool:
    """Whether reading or decoding a token takes more or less than a fit for `rates` will do for."""
    pairs = ((rates.prefill_s, other.prefill_s), (rates.decode_s, other.decode_s))
    return any(abs(theirs - ours) > TOLERANCE * ours for ours, theirs in pairs)


def cost_shift(table: OutcomeTable, other: OutcomeTable) -> float:
    """Largest relative change of a stage's mean cost from a table to it at other rates."""
    ratio = other.cost.mean(axis=0) / table.cost.mean(axis=0)
    return float(np.abs(ratio - 1).max())
