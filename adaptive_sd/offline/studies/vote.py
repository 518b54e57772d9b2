"""Majorities of recorded votes: of any first few of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.election import majority
from adaptive_sd.errors import DataError
from adaptive_sd.forms import canonical_answer, detect_form


class Votes(NamedTuple):
    """Majority answers of N prompts. `cost` (N,): all votes decoded together."""

    answer: tuple[str, ...]
    quality: NDArray[np.float64]
    cost: NDArray[np.float64]
    agreement: NDArray[np.float64]  # (N,), share of the votes that gave the majority's answer


def count_votes(table: OutcomeTable, count: int) -> Votes:
    """The majority of the first `count` votes of a table made by `record_votes`.

    Raises DataError for a table without rates, without their columns or with fewer votes.
    """
    rates = table.stages[0].rates
    if rates is None or not 1 <= count <= len(table.stages):
        raise DataError(f"{count} votes: the table has {len(table.stages)}, or lacks rates.")
    answers, places, costs, shares = [], [], [], []
    tokens_in, num_cached, tokens_out, cut = (
        table.complete(name).astype(np.float64)
        for name in ("tokens_in", "num_cached", "tokens_out", "signal_finished_by_length")
    )
    num_chosen, uncached = tokens_out + (cut == 0), (tokens_in - num_cached)[:, 0]
    prompts, given = table.complete("prompt")[:, 0], table.complete("answer")
    for n, prompt in enumerate(prompts):
        texts = [str(text) for text in given[n, :count]]
        canonical = [canonical_answer(text, detect_form(str(prompt))) for text in texts]
        place = majority(canonical)
        answers.append(texts[place])
        places.append(place)
        shares.append(canonical.count(canonical[place]) / count if canonical[place] else 0.0)
        costs.append(rates.votes_s(int(uncached[n]), [int(c) for c in num_chosen[n, :count]]))
    return Votes(
        answer=tuple(answers),
        quality=table.quality[np.arange(len(places)), places],
        cost=np.array(costs),
        agreement=np.array(shares),
    )
