"""A fake deterministic model with a cache of several sequences; checks its callers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from adaptive_sd.engines.alignment import common_prefix
from adaptive_sd.engines.passes import Piece, Rows, Steps
from adaptive_sd.errors import EngineError

T = TypeVar("T")

VOCAB, END = 6, 5


class FakeSequence:
    def __init__(self, id: int, size: int, can_drop_tail: bool) -> None:
        self.id = id
        self.size = size
        self.tokens: list[int] = []
        self.num_to_keep = 0
        self.branches: list[FakeSequence] = []
        self._can_drop_tail = can_drop_tail

    def start(self, prompt: Sequence[int]) -> None:
        self.truncate(min(common_prefix(self.tokens, prompt), len(prompt) - 1))

    def truncate(self, length: int) -> None:
        if length < len(self.tokens):
            del self.tokens[length if self._can_drop_tail else 0 :]

    def fork(self, count: int) -> list[FakeSequence]:
        self.branches = [FakeSequence(100 + i, self.size, True) for i in range(count)]
        for branch in self.branches:
            branch.tokens = list(self.tokens)
        return self.branches

    def drop_branches(self) -> None:
        self.branches = []


class FakeCache:
    """Next-token logits are a fixed function of a sequence's whole prefix; also the vocabulary.

    The hidden state is the sum of the tokens it stands after. A pass over the token `BROKEN` fails.
    """

    BROKEN = 77

    def __init__(
        self, seed: int, size: int = 120, *, can_drop_tail: bool = True, num_slots: int = 1
    ) -> None:
        self.slots = [FakeSequence(i, size, can_drop_tail) for i in range(num_slots)]
        self.num_rows = 0
        self.passes: list[list[tuple[int, int, bool]]] = []
        """Of each pass the sequences, how many tokens of each, and whether with logits."""
        self._seed = seed

    def evaluate(self, pieces: Sequence[Piece]) -> list[Rows]:
        self.passes.append([(p.sequence.id, len(p.tokens), p.logits) for p in pieces])
        if any(self.BROKEN in piece.tokens for piece in pieces):
            for slot in self.slots:
                slot.tokens.clear()
            raise EngineError("a pass failed.")
        assert all(p.logits for p in pieces) or not any(p.hidden for p in pieces)
        assert len({id(p.sequence) for p in pieces}) == len(pieces)
        return [self._append(piece) for piece in pieces]

    def _append(self, piece: Piece) -> Rows:
        known, rows, hidden = piece.sequence.tokens, [], None
        assert piece.tokens and len(known) + len(piece.tokens) <= piece.sequence.size
        for i, token in enumerate(piece.tokens):
            known.append(token)
            if piece.logits:
                rng = np.random.default_rng([self._seed, *known])
                rows.append(rng.normal(size=VOCAB) * 3 - np.eye(VOCAB)[END] * 2)
            if piece.hidden and i == 0:
                hidden = np.array([float(np.sum(known))], np.float16)
        self.num_rows += len(rows)
        return Rows(np.array(rows, np.float32).reshape(len(rows), VOCAB), hidden)

    def piece(self, token: int) -> bytes:
        return b"" if token == END else bytes([97 + token])

    def is_end(self, token: int) -> bool:
        return token == END


def drive(cache: FakeCache, steps: Steps[T], chunk: int = 128) -> T:
    """Run one request alone, in passes that read at most `chunk` tokens of its prompt."""
    rows: list[Rows] | None = None
    while True:
        try:
            pieces = steps.send(rows)  # type: ignore[arg-type]
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        cut = [p if p.logits else p._replace(tokens=p.tokens[:chunk]) for p in pieces]
        rows = cache.evaluate(cut)
