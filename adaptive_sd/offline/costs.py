"""What recorded answers cost on a machine: token counts times its rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.partial import CHECKPOINTS
from adaptive_sd.errors import DataError
from adaptive_sd.forms import Form, detect_form
from adaptive_sd.offline.fit import acceptance_of
from adaptive_sd.offline.prompts import prompt_texts
from adaptive_sd.offline.verification import PairKey, after, compared_of
from adaptive_sd.types import Acceptance, Rates

_COUNTS = ("prompt", "tokens_in", "num_cached", "tokens_out", "signal_finished_by_length")


def at_rates(table: OutcomeTable, rates: Sequence[Rates]) -> OutcomeTable:
    """The table as a machine with these rates of its stages would have paid for it.

    Raises DataError for a table that lacks token counts or does not say how its stages were asked.
    """
    if missing := [name for name in _COUNTS if name not in table.columns]:
        raise DataError(f"the table lacks {', '.join(missing)}: its costs cannot be told anew.")
    if any(not stage.styles for stage in table.stages):
        raise DataError("the table does not say in which styles its stages were asked.")
    forms = [detect_form(text) for text in prompt_texts(table)]
    tokens_in, num_cached, tokens_out, cut = (
        table.columns[name].astype(np.float64) for name in _COUNTS[1:]
    )
    uncached, num_chosen = (
        (tokens_in - num_cached).astype(int),
        (tokens_out + (cut == 0)).astype(int),
    )
    stages = tuple(replace(s, rates=r) for s, r in zip(table.stages, rates, strict=True))
    cost = _costs(rates, uncached, num_chosen)
    columns = dict(table.columns)
    reached: dict[int, NDArray[np.bool_]] = {}
    for n in CHECKPOINTS:
        if (name := f"cost@{n}") in columns:
            reached[n] = ~np.isnan(columns[name].astype(np.float64))
            columns[name] = np.where(
                reached[n], _costs(rates, uncached, np.full_like(uncached, n)), np.nan
            )
    acceptance = _acceptance(table, forms)
    for j, earlier in enumerate(stages):
        found = {
            (n, k): after(
                *(earlier.name, compared, forms[n], stages[k].styles[forms[n]]),
                *(int(uncached[n, k]), rates[k], acceptance.get((j, k, forms[n]))),
                *(int(tokens_out[n, j]), [c for c, came in reached.items() if came[n, j]]),
            )
            for n, k in np.ndindex(cost.shape)
            if k > j and (compared := compared_of(table, n, j, k)) is not None
        }
        for name in dict.fromkeys(name for row in found.values() for name in row):
            columns[name] = np.full(cost.shape, np.nan)
            for place, row in found.items():
                columns[name][place] = row.get(name, np.nan)
    return replace(table, stages=stages, cost=cost, columns=columns)


def _costs(
    rates: Sequence[Rates], uncached: NDArray[np.int64], num_chosen: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Of reading and decoding so many tokens, (num_prompts, num_stages)."""
    return np.array(
        [
            [r.draft_s(*counts) for r, *counts in zip(rates, *row, strict=True)]
            for row in zip(uncached.tolist(), num_chosen.tolist(), strict=True)
        ]
    )


def _acceptance(table: OutcomeTable, forms: Sequence[Form]) -> dict[PairKey, Acceptance]:
    """As the prompts to fit on show it."""
    is_fit = table.is_fit()
    rows = np.arange(len(forms)) if is_fit is None else np.flatnonzero(is_fit)
    return acceptance_of(table.take(rows), [forms[n] for n in rows.tolist()])
