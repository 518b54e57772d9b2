"""Where an answer runs along a draft: matching tokens, across tokenizers too."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

_UNKNOWN_SURETY = 0.5
_LEAST_DOUBT = 1e-3
"""What a probability lacks to 1 counts for at least this much."""

_DOUBT_UNIT = 3.0
"""Nats of doubt that are one of surety, which so spreads as log(1 + matching tokens) does."""

_MOST_PLACES = 256
"""Followed at a time: keeps following cheap beside a decoding step, whatever the draft."""


class DraftTokens(NamedTuple):
    """A draft in the target's tokens, its end of turn among them.

    `sureties` has how sure the draft's own stage was of each, as `surety_of` says.
    """

    token_ids: tuple[int, ...] = ()
    sureties: tuple[float, ...] = ()


class Place(NamedTuple):
    """The draft's token `at` would be next: the `num_matching` before it match the answer's."""

    at: int
    num_matching: int


class Alignment:
    """Follows an answer token by token and knows where in the draft its last tokens stand."""

    def __init__(self, draft: Sequence[int]) -> None:
        self._positions: dict[int, list[int]] = defaultdict(list)
        for position, token in enumerate(draft):
            if len(self._positions[token]) < _MOST_PLACES:
                self._positions[token].append(position)
        self._draft = draft
        self._matching = {0: 0}
        """How many of the answer's last tokens stand right before each place in the draft."""

    def best(self) -> Place | None:
        """The place with the longest match, the first of several; None where there is none."""
        matching = ((n, -at) for at, n in self._matching.items() if at < len(self._draft))
        found = max(matching, default=None)
        return None if found is None else Place(-found[1], found[0])

    def push(self, token: int) -> None:
        """The answer goes on with `token`; what runs along the draft already comes first."""
        self._matching = {
            at + 1: n + 1
            for at, n in self._matching.items()
            if at < len(self._draft) and self._draft[at] == token
        }
        for at in self._positions.get(token, ())[: _MOST_PLACES - len(self._matching)]:
            self._matching.setdefault(at + 1, 1)


def surety_of(logprob: float) -> float:
    """-log(1 - p) / 3 of a token's natural-log probability: 0 for none, 2.3 for almost certain.

    Something in between for one that is not known (nan).
    """
    if math.isnan(logprob):
        return _UNKNOWN_SURETY
    return -math.log(max(1.0 - math.exp(min(logprob, 0.0)), _LEAST_DOUBT)) / _DOUBT_UNIT


def carry_logprobs(
    ends: Sequence[int], logprobs: Sequence[float], target_ends: Sequence[int]
) -> list[float]:
    """Of each token of another tokenizer, the least log-probability of those that it overlaps.

    Tokens i of one text end before byte `ends[i]`, those of the other before `target_ends`; nan
    where nothing overlaps.
    """
    carried, first, begin = [], 0, 0
    for end in target_ends:
        while first < len(ends) and ends[first] <= begin:
            first += 1
        last = first
        while last < len(ends) and (ends[last - 1] if last else 0) < end:
            last += 1
        carried.append(min(logprobs[first:last], default=math.nan))
        begin = end
    return carried


def common_prefix(a: Sequence[object], b: Sequence[object]) -> int:
    """Length of the longest common prefix."""
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))
