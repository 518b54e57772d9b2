"""The KV cache of a model over llama.cpp's C API, and passes that extend it."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from adaptive_sd.engines.llama_cpp.model import Model
from adaptive_sd.engines.passes import MAX_BRANCHES, Piece, Rows
from adaptive_sd.engines.prefixes import NUM_KEPT
from adaptive_sd.engines.scheduling import MAX_TOKENS
from adaptive_sd.engines.sequences import SequenceCache, num_cells
from adaptive_sd.errors import EngineError

MAX_SLOTS = (256 - NUM_KEPT - 1) // (1 + MAX_BRANCHES)
"""llama.cpp has at most 256 sequences: kept beginnings, a spare one, slots and their branches."""


class Context(SequenceCache):
    """One unified cache, whose cells all sequences share."""

    def __init__(self, model: Model, *, size: int, num_threads: int, num_slots: int = 1) -> None:
        """Raises EngineError when the context cannot be made (most often: memory)."""
        can_fork = not (
            llama_cpp.llama_model_is_recurrent(model.handle)
            or llama_cpp.llama_model_is_hybrid(model.handle)
        )
        super().__init__(size=size, num_slots=num_slots, can_fork=can_fork)
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = num_cells(size, num_slots)
        params.kv_unified = True
        params.n_batch = params.n_ubatch = MAX_TOKENS
        params.n_seq_max = self.num_sequences
        params.n_outputs_max = max(MAX_TOKENS, params.n_seq_max)  # else llama.cpp aborts
        params.n_threads = params.n_threads_batch = num_threads
        params.no_perf = True
        self._model = model
        self._ctx = llama_cpp.llama_init_from_model(model.handle, params)
        if not self._ctx:
            raise EngineError(
                f"no memory for {num_slots} x {size} tokens of context; choose a smaller `context` "
                "or fewer `slots`."
            )
        self._memory = llama_cpp.llama_get_memory(self._ctx)
        self._batch = llama_cpp.llama_batch_init(MAX_TOKENS, 0, 1)

    def append(self, pieces: Sequence[Piece]) -> list[Rows]:
        """See SequenceCache.append.

        Pieces without logits may not stand beside one that asks for a hidden state: llama.cpp
        then computes the logits of all.
        """
        hidden = any(piece.hidden for piece in pieces)
        assert not hidden or all(piece.logits for piece in pieces)
        llama_cpp.llama_set_embeddings(self._ctx, hidden)
        firsts = self._fill_batch(pieces)
        status = llama_cpp.llama_decode(self._ctx, self._batch)
        if status != 0:
            llama_cpp.llama_memory_clear(self._memory, True)
            self.forget_tokens()
            raise EngineError(f"llama_decode failed with status {status}.")
        for piece in pieces:
            piece.sequence.tokens.extend(piece.tokens)
        counts = [len(piece.tokens) if piece.logits else 0 for piece in pieces]
        logits = np.split(self._logits(sum(counts)), np.cumsum(counts)[:-1])
        return [
            Rows(rows, self._hidden(first) if piece.hidden else None)
            for piece, rows, first in zip(pieces, logits, firsts, strict=True)
        ]

    def _fill_batch(self, pieces: Sequence[Piece]) -> list[int]:
        """Write the pieces into the batch; where in it each begins."""
        batch, firsts, at = self._batch, [], 0
        for sequence, tokens, logits, _ in pieces:
            start, end = len(sequence.tokens), at + len(tokens)
            assert tokens and end <= MAX_TOKENS, end
            assert start + len(tokens) <= sequence.size, (start, len(tokens))
            firsts.append(at)
            for position, token in enumerate(tokens, start):
                batch.token[at] = token
                batch.pos[at] = position
                batch.n_seq_id[at] = 1
                batch.seq_id[at][0] = sequence.id
                batch.logits[at] = logits
                at += 1
        batch.n_tokens = at
        return firsts

    def _logits(self, num_rows: int) -> NDArray[np.float32]:
        shape = (num_rows, self._model.num_vocab)
        if not num_rows:
            return np.empty(shape, np.float32)
        return np.ctypeslib.as_array(llama_cpp.llama_get_logits(self._ctx), shape=shape).copy()

    def _hidden(self, at: int) -> NDArray[np.float16]:
        pointer = llama_cpp.llama_get_embeddings_ith(self._ctx, at)
        width = self._model.hidden_width
        return np.ctypeslib.as_array(pointer, shape=(width,)).astype(np.float16)

    def copy(self, source: int, target: int, length: int) -> None:
        """See SequenceCache.copy."""
        llama_cpp.llama_memory_seq_cp(self._memory, source, target, 0, length)

    def remove(self, id: int, start: int) -> bool:
        """See SequenceCache.remove."""
        return bool(llama_cpp.llama_memory_seq_rm(self._memory, id, start, -1))

    def state(self, id: int) -> memoryview:
        """See SequenceCache.state."""
        size = llama_cpp.llama_state_seq_get_size(self._ctx, id)
        written = (ctypes.c_uint8 * size)()
        size = llama_cpp.llama_state_seq_get_data(self._ctx, written, size, id)
        return memoryview(written)[:size]

    def restore(self, id: int, state: bytearray, length: int) -> bool:
        """See SequenceCache.restore."""
        read = (ctypes.c_uint8 * len(state)).from_buffer(state)
        taken = llama_cpp.llama_state_seq_set_data(self._ctx, read, len(state), id)
        if not taken == len(state) == llama_cpp.llama_state_seq_get_size(self._ctx, id):
            return False
        first = llama_cpp.llama_memory_seq_pos_min(self._memory, id)
        last = llama_cpp.llama_memory_seq_pos_max(self._memory, id)
        return (first, last) == (0, length - 1)

    def close(self) -> None:
        """See SequenceCache.close."""
        if self._ctx:
            llama_cpp.llama_batch_free(self._batch)
            llama_cpp.llama_free(self._ctx)
            self._ctx = None
