"""Which span of an earlier stage's draft the target verifies next; pure arithmetic on tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from adaptive_sd.types import Acceptance, Rates

MAX_ROWS = 64
"""Most rows of logits asked for in one pass: a row of 150,000 logits takes 600 KB."""

SPAN_ROWS = (4, 16, 32, MAX_ROWS)
"""Rows of a pass worth considering: the last token and the span; kernels like multiples of 16."""


def expected_accepted(length: int, acceptance: Acceptance) -> float:
    """E[accepted prefix of `length` draft tokens] when the chance of each is one Beta draw.

    The chance differs between answers more than within one, so it is drawn once an answer:
    E[sum_i p^i] = sum_i prod_{k<i} (a + k) / (a + b + k).
    """
    k = np.arange(length)
    a, b = acceptance
    return float(np.cumprod((a + k) / (a + b + k)).sum())


def best_span(remaining: int, rates: Rates, acceptance: Acceptance) -> int:
    """Draft tokens to verify in the next pass: the most text a second, 0 when none pays.

    A pass pays iff (E[accepted] + 1) * t_decode > t_verify(rows); its correction is free.
    """
    best, best_speed = 0, 1 / rates.decode_s
    for rows in SPAN_ROWS:
        length = min(rows - 1, remaining)
        speed = (expected_accepted(length, acceptance) + 1) / rates.pass_s(length + 1)
        if length and speed > best_speed:
            best, best_speed = length, speed
    return best


class DraftVerifier:
    """Walks along one draft: proposes spans, learns from what was accepted, ends at a mismatch."""

    def __init__(
        self, draft: Sequence[int], rates: Rates | None, acceptance: Acceptance | None
    ) -> None:
        self._draft = draft
        self._rates = rates
        self._acceptance = acceptance or Acceptance()
        self._at = 0
        self.num_drafted = 0
        self.num_accepted = 0
        self.num_spans = 0

    def propose(self, limit: int) -> Sequence[int]:
        """The draft tokens to verify in the next pass, at most `limit`; empty: just decode."""
        remaining = min(len(self._draft) - self._at, limit)
        if remaining <= 0:
            return ()
        if self._rates is None:  # every span is tried, growing while it is fully accepted
            length = min(remaining, SPAN_ROWS[min(self.num_spans + 1, len(SPAN_ROWS) - 1)] - 1)
        else:
            length = best_span(remaining, self._rates, self._acceptance)
        return self._draft[self._at : self._at + length]

    def observe(self, span: Sequence[int], num_accepted: int, next_token: int | None) -> None:
        """Tell what the target made of `span`, and the token that it chose after that.

        After a mismatch the rest of the draft stays out of play; a plainly decoded token that
        differs from the draft is a mismatch too.
        """
        if self._at >= len(self._draft):
            return
        if span:
            self.num_spans += 1
            self.num_drafted += len(span)
            self.num_accepted += num_accepted
        self._at += num_accepted
        agrees = self._at < len(self._draft) and next_token == self._draft[self._at]
        a, b = self._acceptance
        self._acceptance = Acceptance(a + num_accepted + agrees, b)
        self._at = self._at + 1 if agrees else len(self._draft)


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the longest common prefix."""
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))


class Verified(NamedTuple):
    """What verification of one draft takes."""

    num_drafted: int
    num_accepted: int
    num_spans: int


def simulate_verification(
    draft_length: int,
    num_agreed: int,
    target_length: int,
    limit: int,
    rates: Rates | None,
    acceptance: Acceptance | None,
) -> Verified:
    """Replay the verifier on a draft whose first `num_agreed` tokens the target would choose.

    `target_length` counts the token that ends the turn; `limit` is the most tokens of an answer.
    """
    draft = range(draft_length)
    target = [i if i < num_agreed else -1 for i in range(target_length)]
    verifier = DraftVerifier(draft, rates, acceptance)
    at = 0
    while at < target_length:
        span = verifier.propose(min(MAX_ROWS - 1, limit - at - 1))
        rest = target[at:]
        num_accepted = common_prefix(span, rest)
        next_token = rest[num_accepted] if num_accepted < len(rest) else None
        verifier.observe(span, num_accepted, next_token)
        at += num_accepted + 1
    return Verified(verifier.num_drafted, verifier.num_accepted, verifier.num_spans)
