"""Signals of other names than the statistics: evidence that only tables of others have."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.features import FEATURE_DIM, MAX_COMPONENTS, STATISTIC_NAMES
from adaptive_sd.decision.partial import CHECKPOINTS

_PREFIX = "signal_"
_FIRST = len(STATISTIC_NAMES) + MAX_COMPONENTS
_KNOWN = {f"{_PREFIX}{name}" for name in (*STATISTIC_NAMES, "tokens_out")}
_OF_FIRST_TOKENS = tuple(f"@{n}" for n in CHECKPOINTS)


def signal_columns(table: OutcomeTable) -> dict[str, int]:
    """The feature column of each such signal, behind the hidden state's.

    By its name alone, so that tables with other signals agree, unless that column is taken. Empty
    for a table that describes its stages: what those tell live are the statistics. Signals of a
    draft's first tokens, `signal_NAME@n`, are none of the whole draft's.
    """
    if any(stage.model for stage in table.stages):
        return {}
    found: dict[str, int] = {}
    names = sorted(
        name
        for name in table.columns
        if name.startswith(_PREFIX) and not name.endswith(_OF_FIRST_TOKENS) and name not in _KNOWN
    )
    num_places = FEATURE_DIM - _FIRST
    for name in names[:num_places]:
        place = zlib.crc32(name.encode()) % num_places
        while _FIRST + place in found.values():
            place = (place + 1) % num_places
        found[name] = _FIRST + place
    return found


def put_signals(features: NDArray[np.float32], table: OutcomeTable) -> None:
    """Write them into `features` (num_prompts, num_stages, 256); missing values count as 0."""
    for name, column in signal_columns(table).items():
        given = table.columns[name].astype(np.float32)
        features[:, :, column] = np.nan_to_num(given, posinf=0.0, neginf=0.0)
