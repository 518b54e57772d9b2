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
from adaptive_sd.offline.verification import PairKey, after, compared_of, uncached_after
from adaptive_sd.types import Acceptance, Rates

_COUNTS = ("prompt", "tokens_in", "num_cached", "tokens_out", "signal_finished_by_length")


def at_rates(table: OutcomeTable, rates: Sequence[Rates]) -> OutcomeTable:
    """The table as a machine with these rates of its stages would have paid for it.

    Raises DataError for a table that lacks token counts or does not say how its stages were asked.
    """
    if missing := [name for name in _COUNTS if name not in table.columns]:
        raise DataError(
            f"the table lacks {', '.join(missing)}, so its costs cannot be told anew; give one "
            "that `adaptive-sd export` wrote."
        )
    if any(not stage.styles for stage in table.stages):
        raise DataError(
            "the table does not say in which styles its stages were asked; give one that "
            "`adaptive-sd export` wrote."
        )
    forms = [detect_form(text) for text in prompt_texts(table)]
    tokens_in, num_cached, tokens_out, cut = (
        table.columns[name].astype(np.float64) for name in _COUNTS[1:]
    )
    uncached, num_chosen = (
        (tokens_in - num_cached).astype(int),
        (tokens_out + (cut == 0)).astype(int),
    )
    stages = tuple(replace(s, rates=r) for s, r in zip(table.stages, rates, strict=True))
    cost = np.empty(table.cost.shape)
    for n, k in np.ndindex(cost.shape):
        read, votes = int(uncached[n, k]), _votes(table, "vote_tokens", n, k)
        plain = rates[k].draft_s(read, int(num_chosen[n, k]))
        cost[n, k] = plain if votes is None else rates[k].votes_s(read, votes)
    parts = _part_costs(table, rates, uncached)
    columns = dict(table.columns) | {f"cost@{at}": part for at, part in parts.items()}
    acceptance = _acceptance(table, forms)
    for j, earlier in enumerate(stages):
        found = {}
        for n, k in np.ndindex(cost.shape):
            if k <= j:
                continue
            form = forms[n]
            read = uncached_after(earlier, stages[k], form, int(uncached[n, k]))
            votes = _votes(table, f"vote_tokens_after_{earlier.name}", n, k)
            if votes is not None:
                found[n, k] = {f"cost_after_{earlier.name}": rates[k].votes_s(read, votes)}
            elif (compared := compared_of(table, n, j, k)) is not None:
                found[n, k] = after(
                    *(earlier.name, compared, form, stages[k].styles[form]),
                    *(read, rates[k], acceptance.get((j, k, form))),
                    int(num_chosen[n, j]),
                    [at for at, part in parts.items() if not np.isnan(part[n, j])],
                )
        for name in dict.fromkeys(name for row in found.values() for name in row):
            columns[name] = np.full(cost.shape, np.nan)
            for place, row in found.items():
                columns[name][place] = row.get(name, np.nan)
    return replace(table, stages=stages, cost=cost, columns=columns)


def _part_costs(
    table: OutcomeTable, rates: Sequence[Rates], uncached: NDArray[np.int64]
) -> dict[int, NDArray[np.float64]]:
    """Up to each checkpoint that the table knows of, nan where a draft did not come to it."""
    found: dict[int, NDArray[np.float64]] = {}
    for at in CHECKPOINTS:
        if (recorded := table.columns.get(f"cost@{at}")) is not None:
            found[at] = np.full(uncached.shape, np.nan)
            for n, k in np.argwhere(~np.isnan(recorded.astype(np.float64))).tolist():
                found[at][n, k] = rates[k].draft_s(int(uncached[n, k]), at)
    return found


def _votes(table: OutcomeTable, name: str, row: int, stage: int) -> list[int] | None:
    """Tokens of each vote; None where the stage did not vote."""
    votes = table.columns[name][row, stage] if name in table.columns else None
    return None if votes is None else [int(count) for count in votes]


def _acceptance(table: OutcomeTable, forms: Sequence[Form]) -> dict[PairKey, Acceptance]:
    """As the prompts to fit on show it."""
    is_fit = table.is_fit()
    rows = np.arange(len(forms)) if is_fit is None else np.flatnonzero(is_fit)
    return acceptance_of(table.take(rows), [forms[n] for n in rows.tolist()])
