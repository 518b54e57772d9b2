"""Which span of an earlier stage's draft the target verifies next; pure arithmetic on tokens."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from adaptive_sd.engines.alignment import Alignment, DraftTokens, Place, common_prefix
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


def best_span(chances: Iterable[float], longest: int, rates: Rates, num_beside: int = 0) -> int:
    """Draft tokens to verify in the next pass: the most for its seconds, 0 when none pays.

    `chances` are those of each token if all before it are accepted. Alone a pass pays iff
    (E[accepted] + 1) * t_decode > t_verify(rows); its correction is free. Beside `num_beside` rows
    of others a pass is made anyway: the span's rows cost what they add to it, and every accepted
    token saves a row of a later one, which is worth what a row adds now, at most its equal share.
    """
    decoded = num_beside + 1
    plain_s = row_s = rates.pass_s(decoded)
    if num_beside:
        row_s = min(plain_s / decoded, plain_s - rates.pass_s(num_beside))
    best, best_gain = 0, 1.0
    expected, all_accepted = 0.0, 1.0
    for length, chance in enumerate(chances, start=1):
        all_accepted *= chance
        expected += all_accepted
        is_last = length == longest or all_accepted < _NEGLIGIBLE
        if is_last or decoded + length in SPAN_ROWS:
            gain = (plain_s + row_s * expected) / rates.pass_s(decoded + length)
            if gain > best_gain:
                best, best_gain = length, gain
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
        *,
        max_rows: int = MAX_ROWS,
    ) -> None:
        """Without `rates` or `acceptance` those of small local models are taken.

        A pass has at most `max_rows`.
        """
        self._max_rows = max_rows
        self._draft = draft
        self._rates = rates or TYPICAL_RATES
        self._acceptance = acceptance or Acceptance()
        self._alignment = Alignment(draft.token_ids)
        self._place = self._alignment.best()
        self._shift = 0.0
        self.verified = Verified()

    def propose(self, limit: int, num_beside: int = 0) -> Sequence[int]:
        """The draft tokens to verify in the next pass, at most `limit`; empty: just decode.

        The pass has `num_beside` rows of other requests too, and room for all.
        """
        place = self._place
        if place is None:
            return ()
        longest = min(limit, self._max_rows - 1 - num_beside, len(self._draft.token_ids) - place.at)
        chances = (self._chance(place, ahead) for ahead in range(longest))
        length = best_span(chances, longest, self._rates, num_beside)
        return self._draft.token_ids[place.at : place.at + length]

    def expected(self) -> int | None:
        """The draft's next token where the answer runs along it, else None."""
        return None if self._place is None else self._draft.token_ids[self._place.at]

    def observe(self, token: int) -> None:
        """The target chose `token` next, in whatever pass."""
        if self._place is not None:
            agreed = token == self.expected()
            self._shift += _STEP * (agreed - self._chance(self._place, 0))
        self._alignment.push(token)
        self._place = self._alignment.best()

    def count(self, span: Sequence[int], chosen: Sequence[int]) -> None:
        """Note a pass that verified `span`, if any, and gave the tokens `chosen`."""
        if span:
            before = self.verified
            self.verified = Verified(
                before.num_drafted + len(span),
                before.num_accepted + common_prefix(span, chosen),
                before.num_chosen + len(chosen),
                (*before.span_rows, len(span) + 1),
            )

    def _chance(self, place: Place, ahead: int) -> float:
        """Of the token `ahead` tokens after the place, if all before it are accepted."""
        surety = self._draft.sureties[place.at + ahead]
        odds = self._acceptance.log_odds(place.num_matching + ahead, surety) + self._shift
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
        chosen = target[at : at + common_prefix(span, target[at:]) + 1]
        for token in chosen:
            verifier.observe(token)
        verifier.count(span, chosen)
        at += len(chosen)
    return verifier.verified
