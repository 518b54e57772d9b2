"""Which span of an earlier stage's draft the target verifies next; pure arithmetic on tokens."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from adaptive_sd.engines.alignment import Alignment, DraftTokens, common_prefix
from adaptive_sd.types import Acceptance, Rates, Verified

MAX_ROWS = 64
"""Most rows of logits asked for in one pass: a row of 150,000 logits takes 600 KB."""

SPAN_ROWS = (2, 4, 8, 16, 32, MAX_ROWS)
"""Rows of a pass worth considering: the last token and the span; kernels like multiples of 16."""

TYPICAL_RATES = Rates(
    0.3, 1.0, ((2, 1.62), (4, 2.34), (8, 5.81), (16, 7.45), (32, 13.2), (64, 26.0))
)
"""Where none were measured: those of a 1.5b model on two cores, in its decoding steps."""

_STEP = 0.1
"""How far one token moves an answer's log odds of acceptance (a step of stochastic gradient)."""

_NEGLIGIBLE = 0.02


def best_span(chances: Iterable[float], longest: int, rates: Rates) -> int:
    """Draft tokens to verify in the next pass: the most text a second, 0 when none pays.

    `chances` are those of each token if all before it are accepted. A pass pays iff
    (E[accepted] + 1) * t_decode > t_verify(rows); its correction is free.
    """
    best, best_speed = 0, 1 / rates.decode_s
    expected, all_accepted = 0.0, 1.0
    for length, chance in enumerate(chances, start=1):
        all_accepted *= chance
        expected += all_accepted
        is_last = length == longest or all_accepted < _NEGLIGIBLE
        if is_last or length + 1 in SPAN_ROWS:
            speed = (expected + 1) / rates.pass_s(length + 1)
            if speed > best_speed:
                best, best_speed = length, speed
        if is_last:
            break
    return best


class DraftVerifier:
    """Walks along one draft: proposes spans, and learns from what the target made of them.

    After a mismatch the rest of the draft stays in play: the next span begins where the answer's
    last tokens match the draft.
    """

    def __init__(
        self,
        draft: DraftTokens,
        rates: Rates | None,
        acceptance: Acceptance | None,
    ) -> None:
        """Without `rates` or `acceptance` those of small local models are taken."""
        self._draft = draft
        self._rates = rates or TYPICAL_RATES
        self._acceptance = acceptance or Acceptance()
        self._alignment = Alignment(draft.token_ids)
        self._shift = 0.0
        self.verified = Verified()

    def propose(self, limit: int) -> Sequence[int]:
        """The draft tokens to verify in the next pass, at most `limit`; empty: just decode."""
        place = self._alignment.best()
        if place is None or limit <= 0:
            return ()
        longest = min(limit, MAX_ROWS - 1, len(self._draft.token_ids) - place.at)
        chances = (self._chance(place.at, place.num_matching, i) for i in range(longest))
        length = best_span(chances, longest, self._rates)
        return self._draft.token_ids[place.at : place.at + length]

    def expected(self) -> Sequence[int]:
        """The draft's next token where the answer runs along it, else none."""
        place = self._alignment.best()
        return () if place is None else self._draft.token_ids[place.at : place.at + 1]

    def observe(self, span: Sequence[int], chosen: Sequence[int]) -> None:
        """Tell which tokens the target chose in the pass that verified `span` (or decoded)."""
        place = self._alignment.best()
        if place is not None:
            drafted = self._draft.token_ids[place.at : place.at + max(1, len(span))]
            for i, (token, draft_token) in enumerate(zip(chosen, drafted, strict=False)):
                chance = self._chance(place.at, place.num_matching, i)
                self._shift += _STEP * ((token == draft_token) - chance)
        for token in chosen:
            self._alignment.push(token)
        if span:
            before = self.verified
            self.verified = Verified(
                before.num_drafted + len(span),
                before.num_accepted + common_prefix(span, chosen),
                before.num_chosen + len(chosen),
                (*before.span_rows, len(span) + 1),
            )

    def _chance(self, at: int, num_matching: int, ahead: int) -> float:
        """Of the token `ahead` tokens after the place, if all before it are accepted."""
        surety = self._draft.sureties[at + ahead]
        odds = self._acceptance.log_odds(num_matching + ahead, surety) + self._shift
        return 0.5 * (1 + math.tanh(0.5 * odds))


def simulate_verification(
    draft: DraftTokens,
    target: Sequence[int],
    limit: int,
    rates: Rates | None,
    acceptance: Acceptance | None,
) -> Verified:
    """Replay the verifier on a draft, where the target's own answer is known.

    `target` has the token that ends the turn too; `limit` is the most tokens of an answer.
    """
    verifier = DraftVerifier(draft, rates, acceptance)
    at = 0
    while at < len(target):
        span = verifier.propose(limit - at - 1)
        num_chosen = common_prefix(span, target[at:]) + 1
        verifier.observe(span, target[at : at + num_chosen])
        at += num_chosen
    return verifier.verified
