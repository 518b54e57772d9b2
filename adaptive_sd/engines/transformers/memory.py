"""Keys and values of a transformers model, as its layers see them in a pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from adaptive_sd.engines.passes import Piece
from adaptive_sd.engines.transformers.cells import Cells, Plan


class View(NamedTuple):
    """What a model is given for a pass: its cache, and a mask where its own would be wrong.

    `seen` has shape (1, 1, tokens, cells).
    """

    cache: Any
    seen: Any = None


class Memory(Protocol):
    """Keys and values by sequence number; see SequenceCache."""

    def open(self, pieces: Sequence[Piece]) -> View:
        """Make room for the tokens of `pieces`, which one pass is to write."""
        ...

    def copy(self, source: int, target: int, length: int) -> None: ...

    def remove(self, id: int, start: int) -> bool: ...

    def clear(self) -> None: ...


class SharedMemory:
    """One row of cells that all sequences share, for models whose layers attend to all before."""

    def __init__(self, num_layers: int, num_cells: int, num_sequences: int) -> None:
        self._cells = Cells(num_cells, num_sequences)
        self._pass = _Pass(num_cells)
        self._cache = Cache(layers=[_Layer(self._pass) for _ in range(num_layers)])

    def open(self, pieces: Sequence[Piece]) -> View:
        for piece in pieces:
            self._cells.append(piece.sequence.id, len(piece.tokens))
        plan = Plan(self._cells, pieces)
        self._pass.begin(plan)
        seen = None if plan.seen is None else torch.from_numpy(plan.seen)[None, None]
        return View(self._cache, seen)

    def copy(self, source: int, target: int, length: int) -> None:
        self._cells.copy(source, target, length)

    def remove(self, id: int, start: int) -> bool:
        self._cells.remove(id, start)
        return True

    def clear(self) -> None:
        self._cells.clear()


class _Pass:
    """The cells of the pass that runs, on each device that has layers."""

    def __init__(self, num_cells: int) -> None:
        self.num_cells = num_cells
        self.num_before = 0
        self._read: NDArray[np.int64] | slice = slice(0)
        self._written: NDArray[np.int64] = np.empty(0, np.int64)
        self._on: dict[Any, tuple[Any, Any]] = {}

    def begin(self, plan: Plan) -> None:
        self.num_before = plan.num_before
        first, last = int(plan.read[0]), int(plan.read[-1])
        is_row = last - first + 1 == len(plan.read) and bool((np.diff(plan.read) == 1).all())
        self._read = slice(first, last + 1) if is_row else plan.read
        self._written = plan.written
        self._on.clear()

    def cells_on(self, device: Any) -> tuple[Any, Any]:
        """Those that are written, and those that are read: a slice where they are in a row."""
        if device not in self._on:
            read = self._read
            told = read if isinstance(read, slice) else torch.from_numpy(read).to(device)
            self._on[device] = torch.from_numpy(self._written).to(device), told
        return self._on[device]


class _Layer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer, shape (1, heads, cells, width); room is taken once."""

    def __init__(self, running: _Pass) -> None:
        super().__init__()
        self._running = running

    def lazy_initialization(self, key_states: Any, value_states: Any) -> None:
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys, self.values = (
            states.new_empty((1, states.shape[1], self._running.num_cells, states.shape[3]))
            for states in (key_states, value_states)
        )
        self.is_initialized = True

    def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> Any:
        """Write what the pass computed; all that it reads."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        written, read = self._running.cells_on(self.device)
        self.keys[:, :, written] = key_states
        self.values[:, :, written] = value_states
        if isinstance(read, slice):
            return self.keys[:, :, read], self.values[:, :, read]
        return self.keys.index_select(2, read), self.values.index_select(2, read)

    def get_seq_length(self) -> int:
        return self._running.num_before

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._running.num_before + query_length, 0


class OwnMemory:
    """A cache of its own for each sequence, of whatever kind the model has; keeps whole ones only.

    A pass is over one sequence.
    """

    def __init__(self, config: Any) -> None:
        self._config = config
        self._caches: dict[int, Any] = {}

    def open(self, pieces: Sequence[Piece]) -> View:
        (piece,) = pieces
        if piece.sequence.id not in self._caches:
            self._caches[piece.sequence.id] = DynamicCache(config=self._config)
        return View(self._caches[piece.sequence.id])

    def copy(self, source: int, target: int, length: int) -> None:
        raise AssertionError("sequences of this memory share nothing")

    def remove(self, id: int, start: int) -> bool:
        """A window has forgotten what was before, and a recurrent state was never more than one."""
        if start == 0:
            self._caches.pop(id, None)
        return start == 0

    def clear(self) -> None:
        self._caches.clear()
