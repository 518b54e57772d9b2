"""The cache of a transformers model, and passes that extend it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import torch

from adaptive_sd.engines.passes import Piece, Rows
from adaptive_sd.engines.scheduling import MAX_TOKENS
from adaptive_sd.engines.sequences import SequenceCache, num_cells
from adaptive_sd.engines.transformers.memory import Memory, OwnMemory, SharedMemory
from adaptive_sd.engines.transformers.model import Model
from adaptive_sd.errors import EngineError

_TOLERANCE = 0.1
"""Of the range of a row of logits, what two ways to compute it may differ by: quantised weights
and 16 bits give some hundredths, a mask that a model takes otherwise than meant gives more."""


class Context(SequenceCache):
    """Sequences in cells that they share, or, where a model's layers cannot, each on its own."""

    def __init__(self, model: Model, *, size: int, num_slots: int, can_fork: bool) -> None:
        super().__init__(size=size, num_slots=num_slots, can_fork=can_fork)
        self._model = model
        self._memory: Memory = (
            SharedMemory(model.num_layers, num_cells(size, num_slots), self.num_sequences)
            if can_fork
            else OwnMemory(model.config)
        )

    def append(self, pieces: Sequence[Piece]) -> list[Rows]:
        """See SequenceCache.append; without shared cells a pass of the model for each piece."""
        assert sum(len(piece.tokens) for piece in pieces) <= MAX_TOKENS
        for piece in pieces:
            assert 0 < len(piece.tokens) <= piece.sequence.size - len(piece.sequence.tokens)
        passes = [pieces] if self.can_fork else [[piece] for piece in pieces]
        try:
            rows = [row for each in passes for row in self._pass(each)]
        except Exception as error:  # foreign code on foreign weights: anything may come
            self._memory.clear()
            self.forget_tokens()
            raise EngineError(f"a pass of the model failed: {_one_line(error)}") from error
        for piece in pieces:
            piece.sequence.tokens.extend(piece.tokens)
        return rows

    def _pass(self, pieces: Sequence[Piece]) -> list[Rows]:
        view = self._memory.open(pieces)
        starts = [len(piece.sequence.tokens) for piece in pieces]
        counts = [len(piece.tokens) for piece in pieces]
        firsts = np.cumsum([0, *counts])
        kept = [
            row
            for piece, first in zip(pieces, firsts, strict=False)
            if piece.logits
            for row in range(first, first + len(piece.tokens))
        ]
        logits, hidden = self._model.forward(
            [token for piece in pieces for token in piece.tokens],
            [at + i for at, count in zip(starts, counts, strict=True) for i in range(count)],
            view.cache,
            view.seen,
            rows=kept,
            hidden=[int(f) for piece, f in zip(pieces, firsts, strict=False) if piece.hidden],
        )
        states = iter(hidden)
        ends = np.cumsum([len(piece.tokens) if piece.logits else 0 for piece in pieces])
        return [
            Rows(rows, next(states) if piece.hidden else None)
            for piece, rows in zip(pieces, np.split(logits, ends[:-1]), strict=True)
        ]

    def copy(self, source: int, target: int, length: int) -> None:
        """See SequenceCache.copy."""
        self._memory.copy(source, target, length)

    def remove(self, id: int, start: int) -> bool:
        """See SequenceCache.remove."""
        return self._memory.remove(id, start)

    def close(self) -> None:
        """See SequenceCache.close."""
        self._memory.clear()


def open_context(model: Model, *, size: int, num_slots: int) -> Context:
    """With shared cells where the model is seen to compute with them what it does without."""
    if size > 1 and model.attends_to_all(size):  # of one token nothing can be dropped
        context = Context(model, size=size, num_slots=num_slots, can_fork=True)
        with suppress(EngineError):
            if _is_right(context, model):
                return context
    return Context(model, size=size, num_slots=num_slots, can_fork=False)


def _is_right(context: Context, model: Model) -> bool:
    """Whether a dropped tail leaves nothing, and sequences of one pass do not see each other."""
    tokens = [(7 * i + 5) % model.num_vocab for i in range(min(8, context.spare.size))]
    whole = model.logits_of(tokens)
    first, second = context.spare, context.slots[0]
    first.read(tokens)
    kept = len(tokens) // 2
    first.truncate(kept)
    pieces = [Piece(first, tokens[kept:]), Piece(second, tokens[: len(tokens) - 1])]
    rows = context.evaluate(pieces)
    first.truncate(0)
    second.truncate(0)
    expected = (whole[kept:], whole[: len(tokens) - 1])
    return all(
        np.ptp(row) * _TOLERANCE >= np.abs(row - own).max()
        for theirs, ours in zip(expected, rows, strict=True)
        for row, own in zip(theirs, ours.logits, strict=True)
    )


def _one_line(error: Exception) -> str:
    if isinstance(error, torch.OutOfMemoryError):
        return "no memory left; choose a smaller `context` or fewer `slots`."
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
