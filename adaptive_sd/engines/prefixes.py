"""Which prompt beginnings are worth keeping in the KV cache; token lists only."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from adaptive_sd.engines.alignment import common_prefix

NUM_KEPT = 8
MIN_TOKENS = 32
"""A shorter beginning is read again in less time than it takes to keep account of it."""

BUDGET_TOKENS = 2048
"""Most tokens of all kept beginnings together."""


class Match(NamedTuple):
    """A kept beginning and how many tokens of it the prompt shares."""

    number: int
    length: int


class PrefixTable:
    """Beginnings that are known to recur, or that at least two recent prompts shared.

    The least recently used goes first. Worked examples of a prompt style recur in every prompt of
    that form; prompts of other forms in between would otherwise drive them out.
    """

    def __init__(self) -> None:
        self._kept: dict[int, tuple[int, ...]] = {}  # by number, least recently used first
        self._recent: deque[tuple[int, ...]] = deque(maxlen=2 * NUM_KEPT)

    def shared_length(self, prompt: Sequence[int], following: Sequence[int]) -> int:
        """Tokens at the start of `prompt` that other prompts have too; 0 where few are not kept."""
        shared = max(common_prefix(prompt, other) for other in (following, *self._recent))
        kept = max((common_prefix(prompt, tokens) for tokens in self._kept.values()), default=0)
        return shared if kept + MIN_TOKENS <= shared <= BUDGET_TOKENS else 0

    def note(self, prompt: Sequence[int]) -> None:
        """Remember a prompt, to find what the next ones share with it."""
        self._recent.append(tuple(prompt))

    def keep(self, tokens: Sequence[int]) -> tuple[int, list[int]]:
        """Give `tokens` a number from 1 to NUM_KEPT; also those that have to be emptied first."""
        dropped = []
        while self._kept and (
            len(self._kept) >= NUM_KEPT
            or sum(map(len, self._kept.values())) + len(tokens) > BUDGET_TOKENS
        ):
            oldest = next(iter(self._kept))
            del self._kept[oldest]
            dropped.append(oldest)
        free = next(n for n in range(1, NUM_KEPT + 1) if n not in self._kept)
        self._kept[free] = tuple(tokens)
        return free, dropped

    def keeps(self, tokens: tuple[int, ...]) -> bool:
        """Whether these, no more and no less, are a kept beginning."""
        return tokens in self._kept.values()

    def best(self, prompt: Sequence[int]) -> Match | None:
        """The kept beginning that shares most tokens with `prompt`."""
        matches = [Match(n, common_prefix(prompt, tokens)) for n, tokens in self._kept.items()]
        best = max(matches, key=lambda m: m.length, default=None)
        if best is None or best.length == 0:
            return None
        self._kept[best.number] = self._kept.pop(best.number)
        return best

    def clear(self) -> None:
        """Forget everything, as after a failed pass."""
        self._kept.clear()
        self._recent.clear()
