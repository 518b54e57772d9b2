"""What recorded answers cost on a machine: token counts times its rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.features import PromptView
from adaptive_sd.engines.verification import Verified, simulate_verification
from adaptive_sd.errors import DataError
from adaptive_sd.forms import Form, detect_form
from adaptive_sd.offline.fit import acceptance_of
from adaptive_sd.offline.prompts import prompt_texts
from adaptive_sd.styles import find_style
from adaptive_sd.types import Acceptance, Rates

_COUNTS = ("prompt", "tokens_in", "num_cached", "tokens_out", "signal_finished_by_length")


def verified(
    num_drafted: int,
    num_agreed: int,
    num_chosen: int,
    form: Form,
    style: str,
    rates: Rates,
    acceptance: Acceptance,
) -> Verified:
    """What a stage verifies of a draft, its first `num_agreed` tokens being its own choice too."""
    limit = find_style(form, style).max_tokens
    return simulate_verification(num_drafted, num_agreed, num_chosen, limit, rates, acceptance)


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
    cost = np.array(
        [
            [r.draft_s(*counts) for r, *counts in zip(rates, *row, strict=True)]
            for row in zip(uncached.tolist(), num_chosen.tolist(), strict=True)
        ]
    )
    columns = dict(table.columns)
    acceptance = _acceptance(table, forms)
    for j, earlier in enumerate(stages):
        if f"agreed_after_{earlier.name}" not in columns:
            continue
        drafted, agreed = (
            columns[f"{what}_after_{earlier.name}"].astype(np.float64)
            for what in ("drafted", "agreed")
        )
        after, accepted = np.full(cost.shape, np.nan), np.full(cost.shape, np.nan)
        for n, k in np.argwhere(~np.isnan(agreed)).tolist():
            form, stage = forms[n], stages[k]
            counts = int(drafted[n, k]), int(agreed[n, k]), int(num_chosen[n, k])
            found = verified(
                *(*counts, form, stage.styles[form]),
                rates[k],
                acceptance.get((j, k, form), Acceptance()),
            )
            after[n, k] = rates[k].draft_s(
                int(uncached[n, k]), int(num_chosen[n, k]), **found._asdict()
            )
            accepted[n, k] = found.num_accepted
        columns[f"cost_after_{earlier.name}"] = after
        columns[f"accepted_after_{earlier.name}"] = accepted
    return replace(table, stages=stages, cost=cost, columns=columns)


def _acceptance(
    table: OutcomeTable, forms: Sequence[Form]
) -> dict[tuple[int, int, Form], Acceptance]:
    """As the prompts to fit on show it."""
    is_fit = table.is_fit()
    rows = np.arange(len(forms)) if is_fit is None else np.flatnonzero(is_fit)
    return acceptance_of(table.take(rows), [PromptView(forms[n]) for n in rows.tolist()])
