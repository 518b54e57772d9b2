"""Wall seconds of the stages, as recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.data.outcomes import OutcomeTable

QUANTILES = (0.5, 0.95, 0.99)


class LatencyRow(NamedTuple):
    stage: str
    num_prompts: int
    seconds: tuple[float, ...]  # one for each of QUANTILES


@dataclass(frozen=True, slots=True)
class Latency:
    """`source` names the columns; rows are of stages with any value."""

    source: str
    rows: tuple[LatencyRow, ...]


def measure_latency(outcomes: OutcomeTable) -> Latency | None:
    """None where the table has no latencies."""
    columns = outcomes.columns
    if "latency_s" in columns:
        source, seconds = "latency_s", _floats(columns["latency_s"])
    elif "prefill_s" in columns and "decode_s" in columns:
        source = "prefill_s + decode_s"
        seconds = _floats(columns["prefill_s"]) + _floats(columns["decode_s"])
    else:
        return None
    rows = []
    for k, stage in enumerate(outcomes.stages):
        known = seconds[np.isfinite(seconds[:, k]), k]
        if len(known):
            quantiles = tuple(np.quantile(known, QUANTILES).tolist())
            rows.append(LatencyRow(stage.name, len(known), quantiles))
    return Latency(source, tuple(rows)) if rows else None


def _floats(column: NDArray[np.generic]) -> NDArray[np.float64]:
    """What is no number counts as missing."""
    if np.issubdtype(column.dtype, np.number):
        return column.astype(np.float64)
    numbers = [v if isinstance(v, int | float) else np.nan for v in column.ravel().tolist()]
    return np.array(numbers, dtype=np.float64).reshape(column.shape)
