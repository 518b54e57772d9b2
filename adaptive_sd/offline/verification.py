"""What later stages make of earlier drafts and votes, told from recorded tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Self

import numpy as np

from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.acceptance import Agreements, fit_acceptance
from adaptive_sd.election import Election
from adaptive_sd.engines.alignment import Alignment, DraftTokens
from adaptive_sd.engines.verification import simulate_verification
from adaptive_sd.errors import ConfigError, DataError
from adaptive_sd.forms import Form
from adaptive_sd.stage_record import StageRecord
from adaptive_sd.styles import find_style
from adaptive_sd.types import Acceptance, Draft, Rates, Verified

PairKey = tuple[int, int, Form]
"""Index of the drafting stage, of the target, and the form of the prompts."""

_PAIR_STRENGTH = 1.0
_FORM_STRENGTH = 30.0
"""Rows that the prior of a form, its pair's fit over all forms, counts for: a few answers."""


class Compared(NamedTuple):
    """An earlier stage's draft, and what the target answers by itself, with its end of turn."""

    draft: DraftTokens
    target: tuple[int, ...]

    def first(self, num_tokens: int, num_chosen: int) -> Self:
        """With the first, not all, of the `num_chosen` tokens that the draft's own stage chose.

        In the target's tokens that is as much of it: the same tokens where the two stages have
        one vocabulary. The token that ends the turn is not among them.
        """
        first = slice(num_tokens * len(self.draft.token_ids) // num_chosen)
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
        if found_rows := pair.agreements():  # none along an empty draft
            rows.setdefault(key, []).extend(found_rows)
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
    num_chosen: int,
    checkpoints: Sequence[int],
) -> dict[str, float]:
    """Columns that tell what the target's answer costs had it verified the `earlier` draft.

    That draft is whole, of `num_chosen` tokens, or as it was at each of `checkpoints`. Raises
    DataError for a style that this program does not know.
    """
    try:
        limit = find_style(form, style).max_tokens
    except ConfigError as error:
        raise DataError(
            f"an answer was recorded in a style of another version, so record it again: {error}"
        ) from error

    def verify(pair: Compared) -> tuple[float, Verified]:
        found = simulate_verification(*pair, limit, rates, acceptance)
        return rates.draft_s(uncached, len(pair.target), found), found

    cost, found = verify(compared)
    return {
        f"cost_after_{earlier}": cost,
        f"accepted_after_{earlier}": found.num_accepted,
        f"drafted_after_{earlier}": found.num_drafted,
        **{
            f"cost_after_{earlier}@{n}": verify(compared.first(n, num_chosen))[0]
            for n in checkpoints
        },
    }


def further_votes(held: Draft, own: Draft, form: Form) -> list[int]:
    """Tokens of each vote that `own` would still have sampled, had it taken over the held ones.

    Both drafts are of one source, recorded apart.
    """
    assert own.votes is not None
    votes = own.votes.drafts
    election = Election(form, len(votes), held.votes.drafts[: len(votes)] if held.votes else ())
    return [votes[place].num_chosen for place in election.missing]


def uncached_after(drafted: StageRecord, target: StageRecord, form: Form, uncached: int) -> int:
    """Of the prompt tokens that the target alone has to read, those it reads after that draft.

    The last one is always read: the answer begins there.
    """
    return min(uncached, 1) if drafted.shares_prompts(target, form) else uncached


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
    was_cut = table.columns["signal_finished_by_length"][row]
    return compare(draft, map(int, own), bool(was_cut[earlier]), bool(was_cut[stage]))


def compare(draft: DraftTokens, answer: Iterable[int], draft_cut: bool, cut: bool) -> Compared:
    """A recorded draft as a live target gets it, and `answer`.

    The recorded one always has an end of turn, which tells the target's. Neither keeps it that was
    cut by the token limit.
    """
    end = draft.token_ids[-1:]
    if draft_cut:
        draft = DraftTokens(draft.token_ids[:-1], draft.sureties[:-1])
    return Compared(draft, (*answer, *(() if cut else end)))


def _stack(rows: list[tuple[int, float, bool]]) -> Agreements:
    num_matching, surety, agreed = zip(*rows, strict=True)
    return Agreements(np.array(num_matching), np.array(surety), np.array(agreed))
