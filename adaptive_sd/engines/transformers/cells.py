"""Which cells of a key-value cache hold which sequence's tokens; numbers only, no tensors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.engines.passes import Piece


class Cells:
    """A cell for each token of a sequence, in order; sequences with a common beginning share."""

    def __init__(self, num_cells: int, num_sequences: int) -> None:
        self._num_users = np.zeros(num_cells, np.int32)
        self._of: list[list[int]] = [[] for _ in range(num_sequences)]

    def of(self, id: int) -> Sequence[int]:
        """The cells of a sequence's tokens."""
        return self._of[id]

    def append(self, id: int, count: int) -> None:
        """Give a sequence cells for `count` more tokens."""
        new = np.flatnonzero(self._num_users == 0)[:count]
        assert len(new) == count, "there are cells for as many tokens as the sequences may have"
        self._num_users[new] = 1
        self._of[id] += new.tolist()

    def copy(self, source: int, target: int, length: int) -> None:
        """The empty sequence `target` shares the first `length` cells of `source`."""
        assert not self._of[target]
        self._of[target] = self._of[source][:length]
        self._num_users[self._of[target]] += 1

    def remove(self, id: int, start: int) -> None:
        """Take from a sequence its cells from `start` on."""
        self._num_users[self._of[id][start:]] -= 1
        del self._of[id][start:]

    def clear(self) -> None:
        self._num_users[:] = 0
        for cells in self._of:
            cells.clear()


class Plan:
    """Where the tokens of a pass are put, and what each of them sees.

    `read` are the cells that it looks at, `written` those of its own tokens; `seen` has shape
    (tokens, cells read), or is None for one sequence alone, which sees all that is before a token.
    """

    def __init__(self, cells: Cells, pieces: Sequence[Piece]) -> None:
        """The tokens of `pieces` have their cells already."""
        held = [np.array(cells.of(piece.sequence.id)) for piece in pieces]
        counts = [len(piece.tokens) for piece in pieces]
        self.written = np.concatenate([h[-n:] for h, n in zip(held, counts, strict=True)])
        self.read = held[0]
        self.seen: NDArray[np.bool_] | None = None
        if len(pieces) > 1:
            self.read = np.unique(np.concatenate(held))
            self.seen = np.zeros((sum(counts), len(self.read)), np.bool_)
            at = 0
            for own, count in zip(held, counts, strict=True):
                places = np.searchsorted(self.read, own)
                rows = np.tri(count, len(own), len(own) - count, np.bool_)
                self.seen[at : at + count, places] = rows
                at += count

    @property
    def num_before(self) -> int:
        """Cells that are read besides those that are written."""
        return len(self.read) - len(self.written)
