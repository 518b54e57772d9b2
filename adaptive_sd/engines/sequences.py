"""A model's cache as sequences of tokens: what they share, keep and forget; no model in here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.engines.alignment import common_prefix
from adaptive_sd.engines.passes import MAX_BRANCHES, Piece, Rows
from adaptive_sd.engines.prefixes import BUDGET_TOKENS, NUM_KEPT, PrefixTable
from adaptive_sd.engines.scheduling import MAX_TOKENS
from adaptive_sd.engines.states import StateStore


def num_cells(size: int, num_slots: int) -> int:
    """Tokens that a cache has room for: those of all slots, kept beginnings, the spare sequence."""
    return num_slots * size + BUDGET_TOKENS + MAX_TOKENS


class SequenceCache(ABC):
    """Keys and values of numbered sequences: a spare one, kept beginnings, slots, their branches.

    All share the room of `num_cells` tokens, so that a copied beginning takes none.
    """

    def __init__(self, *, size: int, num_slots: int, can_fork: bool) -> None:
        """`num_slots` sequences of at most `size` tokens."""
        num_kept, num_branches = (NUM_KEPT, MAX_BRANCHES) if can_fork else (0, 0)
        self.can_fork = can_fork
        """Whether sequences can share cells and drop a tail; recurrent memories cannot."""
        self.num_sequences = 1 + num_kept + num_slots * (1 + num_branches)
        self.prefixes = PrefixTable()
        ids = range(1 + num_kept, self.num_sequences, 1 + num_branches)
        self.slots = [CachedSequence(self, id, size) for id in ids]
        self.spare = CachedSequence(self, 0, min(size, MAX_TOKENS))
        """Of no request: to measure with, and to restore into."""
        self._known: tuple[tuple[int, ...], ...] = ()
        self._met: set[tuple[int, ...]] = set()
        """Those of the known beginnings that were in the cache once."""
        self._states: StateStore | None = None

    def expect(self, beginnings: Sequence[tuple[int, ...]], states: StateStore | None) -> None:
        """Beginnings that recur, at most BUDGET_TOKENS each: kept from the first prompt on.

        With `states` they are kept for other processes too, and taken from them.
        """
        self._known = tuple(sorted(beginnings, key=len, reverse=True))
        self._states = states

    def evaluate(self, pieces: Sequence[Piece]) -> list[Rows]:
        """Append all pieces, at most MAX_TOKENS, in one pass; their rows are copies.

        Raises EngineError when it fails, and forgets everything.
        """
        rows = self.append(pieces)
        for sequence in (piece.sequence for piece in pieces):
            if 0 < sequence.num_to_keep <= len(sequence.tokens):
                self._keep_known(tuple(sequence.tokens[: sequence.num_to_keep]), sequence.id)
                sequence.num_to_keep = 0
        return rows

    def recall(self, prompt: Sequence[int]) -> int:
        """See to it that the known beginning of a prompt is kept.

        Its length where it has to be read for that, which is so once; one that was driven out is as
        any other beginning.
        """
        beginnings = (known for known in self._known if len(known) < len(prompt))
        known = next((b for b in beginnings if common_prefix(b, prompt) == len(b)), ())
        if not known or self.prefixes.keeps(known) or self._restore_known(known):
            return 0
        return 0 if known in self._met else len(known)

    def _restore_known(self, known: tuple[int, ...]) -> bool:
        state = None if self._states is None else self._states.read(known)
        if state is None:
            return False
        self.spare.truncate(0)
        if is_whole := self.restore(self.spare.id, state, len(known)):
            self.keep(known, self.spare.id)
            self._met.add(known)
        self.remove(self.spare.id, 0)
        return is_whole

    def _keep_known(self, known: tuple[int, ...], id: int) -> None:
        self._met.add(known)
        if self.prefixes.keeps(known):  # another sequence was faster
            return
        kept = self.keep(known, id)
        if self._states is not None and (state := self.state(kept)) is not None:
            self._states.write(known, state)

    def keep(self, tokens: Sequence[int], source: int) -> int:
        """The first tokens of the sequence `source`, as the sequence whose number is returned."""
        kept, dropped = self.prefixes.keep(tokens)
        for old in dropped:
            self.remove(old, 0)
        self.copy(source, kept, len(tokens))
        return kept

    @abstractmethod
    def append(self, pieces: Sequence[Piece]) -> list[Rows]:
        """See evaluate."""

    def state(self, id: int) -> memoryview | None:
        """All that the cache holds of a sequence; None where that cannot be told."""
        return None

    def restore(self, id: int, state: bytearray, length: int) -> bool:
        """The sequence `id`, empty so far, becomes the `length` tokens that `state` tells of.

        False where it does not; then anything may be left of it.
        """
        return False

    @abstractmethod
    def copy(self, source: int, target: int, length: int) -> None:
        """The sequence `target`, empty so far, begins as the first `length` tokens of `source`."""

    @abstractmethod
    def remove(self, id: int, start: int) -> bool:
        """Drop tokens from `start` on; False where that cannot be (from 0 on it always can)."""

    @abstractmethod
    def close(self) -> None:
        """Free the memory; a second close does nothing."""

    def forget_tokens(self) -> None:
        """No sequence has any token left, as after a failed pass."""
        self.prefixes.clear()
        for sequence in (self.spare, *self.slots):
            sequence.tokens.clear()
            sequence.num_to_keep = 0


class CachedSequence:
    """Tokens of one request, or of one branch of it, whose keys and values are in the cache."""

    def __init__(self, cache: SequenceCache, id: int, size: int) -> None:
        self._cache = cache
        self.id = id
        self.size = size
        self.tokens: list[int] = []
        self.num_to_keep = 0
        self._prompt: tuple[int, ...] = ()
        self._num_branches = 0

    def start(self, prompt: Sequence[int]) -> None:
        """Become the longest known beginning of `prompt`, but not all of it."""
        if self._cache.can_fork:
            self._keep_shared(prompt)
            self.num_to_keep = self._cache.recall(prompt)
        source, length = self._longest_elsewhere(prompt)
        here = common_prefix(self.tokens, prompt)
        if length > here:
            self._cache.remove(self.id, 0)
            self._cache.copy(source, self.id, length)
            self.tokens = list(prompt[:length])
        self.truncate(min(max(here, length), len(prompt) - 1))
        self._prompt = tuple(prompt)

    def _longest_elsewhere(self, prompt: Sequence[int]) -> tuple[int, int]:
        """Which kept beginning or other slot shares most tokens with `prompt`, and how many."""
        if not self._cache.can_fork:
            return 0, 0
        match = self._cache.prefixes.best(prompt)
        found = [(slot.id, common_prefix(slot.tokens, prompt)) for slot in self._cache.slots]
        if match is not None:
            found.insert(0, match)
        return max(found, key=lambda source: source[1])

    def _keep_shared(self, prompt: Sequence[int]) -> None:
        """Keep what the last prompt shares with others before this one overwrites it."""
        prefixes = self._cache.prefixes
        last = self._prompt[: common_prefix(self._prompt, self.tokens)]
        length = prefixes.shared_length(last, prompt)
        prefixes.note(last)
        if length:
            self._cache.keep(last[:length], self.id)

    def truncate(self, length: int) -> None:
        """Forget all tokens from `length` on; recurrent memories, which cannot, forget all."""
        if length >= len(self.tokens):
            return
        del self.tokens[length if self._cache.remove(self.id, length) else 0 :]
        if not self.tokens:
            self._cache.remove(self.id, 0)

    def fork(self, count: int) -> list[CachedSequence]:
        """`count` branches, at most MAX_BRANCHES, that begin as copies of this sequence."""
        assert 0 < count <= MAX_BRANCHES, count
        self._num_branches = count
        branches = [CachedSequence(self._cache, self.id + 1 + i, self.size) for i in range(count)]
        for branch in branches:
            self._cache.copy(self.id, branch.id, len(self.tokens))
            branch.tokens = list(self.tokens)
        return branches

    def drop_branches(self) -> None:
        """Forget all branches; this sequence stays."""
        for i in range(self._num_branches):
            self._cache.remove(self.id + 1 + i, 0)
        self._num_branches = 0

    def read(self, tokens: Sequence[int]) -> None:
        """Append tokens in a pass of their own, without logits."""
        self._cache.evaluate([Piece(self, tokens, logits=False)])

    def extend(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Append tokens in a pass of their own; logits after each, shape (tokens, vocabulary)."""
        (rows,) = self._cache.evaluate([Piece(self, tokens)])
        return rows.logits
