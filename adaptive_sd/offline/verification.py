"""What later stages make of earlier drafts, told from recorded tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Self

import numpy as np

from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.acceptance import Agreements, fit_acceptance
from adaptive_sd.engines.alignment import Alignment, DraftTokens
from adaptive_sd.engines.verification import simulate_verification
from adaptive_sd.errors import DataError
from adaptive_sd.forms import Form
from adaptive_sd.styles import find_style
from adaptive_sd.types import Acceptance, Rates, Verified

PairKey = tuple[int, int, Form]
"""Index of the drafting stage, of the target, and the form of the prompts."""

_PAIR_STRENGTH = 1.0
_FORM_STRENGTH = 30.0
"""Rows that the prior of a form, its pair's fit over all forms, counts for: a few answers."""


class Compared(NamedTuple):
    """An earlier stage's draft, and what the target answers by itself, with its end of turn."""

    draft: DraftTokens
    target: tuple[int, ...]

    def first(self, num_tokens: int, num_whole: int) -> Self:
        """With the first of the `num_whole` tokens that the draft had in its own stage's tokens.

        In the target's tokens that is as much of it: the same tokens where the two stages have
        one vocabulary. A draft that was abandoned has no end of turn.
        """
        known = len(self.draft.token_ids) - 1
        first = slice(num_tokens * known // max(num_whole, 1))
        draft = DraftTokens(self.draft.token_ids[first], self.draft.sureties[first])
        return self._replace(draft=draft)

    def agreements(self) -> list[tuple[int, float, bool]]:
        """(tokens that match, surety of the draft's next, whether it came) along the answer."""
        alignment, rows = Alignment(self.draft.token_ids), []
        for token in self.target:
            if (place := alignment.best()) is not None:
                agreed = token == self.draft.token_ids[place.at]
                rows.append((place.num_matching, self.draft.sureties[place.at], agreed))
            alignment.push(token)
        return rows


def learn_acceptance(
    compared: Iterable[tuple[PairKey, Compared]],
) -> dict[PairKey, Acceptance]:
    """For each pair of stages and form; a form with few answers is taken to be like the others."""
    rows: dict[PairKey, list[tuple[int, float, bool]]] = {}
    for key, pair in compared:
        rows.setdefault(key, []).extend(pair.agreements())
    found: dict[PairKey, Acceptance] = {}
    for drafted, target in dict.fromkeys(key[:2] for key in rows):
        of_pair = {key: _stack(own) for key, own in rows.items() if key[:2] == (drafted, target)}
        all_forms = Agreements(*map(np.concatenate, zip(*of_pair.values(), strict=True)))
        prior = fit_acceptance(all_forms, Acceptance(), _PAIR_STRENGTH)
        found |= {key: fit_acceptance(own, prior, _FORM_STRENGTH) for key, own in of_pair.items()}
    return found


def after(
    earlier: str,
    compared: Compared,
    form: Form,
    style: str,
    uncached: int,
    rates: Rates,
    acceptance: Acceptance | None,
    tokens_out: int,
    checkpoints: Sequence[int],
) -> dict[str, float]:
    """Columns that tell what the target's answer costs had it verified the `earlier` draft.

    Of that draft's `tokens_out` tokens, or of so many as it had at each of `checkpoints`.
    """
    limit = find_style(form, style).max_tokens

    def verify(pair: Compared) -> tuple[float, Verified]:
        found = simulate_verification(*pair, limit, rates, acceptance)
        return rates.draft_s(uncached, len(pair.target), found), found

    cost, found = verify(compared)
    return {
        f"cost_after_{earlier}": cost,
        f"accepted_after_{earlier}": found.num_accepted,
        f"drafted_after_{earlier}": found.num_drafted,
        **{
            f"cost_after_{earlier}@{n}": verify(compared.first(n, tokens_out))[0]
            for n in checkpoints
        },
    }


def compared_of(table: OutcomeTable, row: int, earlier: int, stage: int) -> Compared | None:
    """As the columns that `export` writes have it; None where they are not there or empty.

    Raises DataError where a draft has not as many sureties as tokens.
    """
    name = table.stages[earlier].name
    parts = (f"draft_ids_after_{name}", f"draft_sureties_after_{name}", "token_ids")
    if any(part not in table.columns for part in parts):
        return None
    draft_ids, sureties = (table.columns[part][row, stage] for part in parts[:2])
    own = table.columns["token_ids"][row, stage]
    if draft_ids is None or sureties is None or own is None:
        return None
    if not 0 < len(draft_ids) == len(sureties):
        raise DataError(
            f"{parts[0]} of {table.prompt_ids[row]!r} at stage {table.stages[stage].name!r} has "
            f"{len(draft_ids)} tokens, {parts[1]} {len(sureties)}; there must be as many, and some."
        )
    draft = DraftTokens(tuple(map(int, draft_ids)), tuple(map(float, sureties)))
    cut = bool(table.columns["signal_finished_by_length"][row, stage])
    return compare(draft, map(int, own), cut)


def compare(draft: DraftTokens, answer: Iterable[int], cut: bool) -> Compared:
    """`answer` without its end of turn, which it has unless it was `cut` by the token limit."""
    return Compared(draft, (*answer, *(() if cut else draft.token_ids[-1:])))


def _stack(rows: list[tuple[int, float, bool]]) -> Agreements:
    num_matching, surety, agreed = zip(*rows, strict=True)
    return Agreements(np.array(num_matching), np.array(surety), np.array(agreed))
