"""The KV cache of a model over llama.cpp's C API: sequences, and passes that extend them."""

from __future__ import annotations

from collections.abc import Sequence

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from adaptive_sd.engines.alignment import common_prefix
from adaptive_sd.engines.llama_cpp.model import Model
from adaptive_sd.engines.llama_cpp.prefixes import BUDGET_TOKENS, NUM_KEPT, PrefixTable
from adaptive_sd.engines.passes import MAX_BRANCHES, Piece, Rows
from adaptive_sd.engines.scheduling import MAX_TOKENS
from adaptive_sd.errors import EngineError

MAX_SLOTS = (256 - NUM_KEPT - 1) // (1 + MAX_BRANCHES)
"""llama.cpp has at most 256 sequences: kept beginnings, a spare one, slots and their branches."""


class Context:
    """One cache whose cells all sequences share, so that a copied beginning takes no room."""

    def __init__(self, model: Model, *, size: int, num_threads: int, num_slots: int = 1) -> None:
        """`num_slots` sequences of at most `size` tokens.

        Raises EngineError when the context cannot be made (most often: memory).
        """
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = num_slots * size + BUDGET_TOKENS + MAX_TOKENS
        params.kv_unified = True
        params.n_batch = params.n_ubatch = MAX_TOKENS
        self.can_fork = not (
            llama_cpp.llama_model_is_recurrent(model.handle)
            or llama_cpp.llama_model_is_hybrid(model.handle)
        )
        """Whether sequences can share cells and drop a tail; recurrent memories cannot."""
        num_kept, num_branches = (NUM_KEPT, MAX_BRANCHES) if self.can_fork else (0, 0)
        params.n_seq_max = 1 + num_kept + num_slots * (1 + num_branches)
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
        self.memory = llama_cpp.llama_get_memory(self._ctx)
        self._batch = llama_cpp.llama_batch_init(MAX_TOKENS, 0, 1)
        self.prefixes = PrefixTable()
        ids = range(1 + num_kept, params.n_seq_max, 1 + num_branches)
        self.slots = [CachedSequence(self, id, size) for id in ids]
        self.spare = CachedSequence(self, 0, min(size, MAX_TOKENS))
        """Of no request: to measure with."""

    def evaluate(self, pieces: Sequence[Piece]) -> list[Rows]:
        """Append all pieces, at most MAX_TOKENS, in one pass; their rows are copies.

        Pieces without logits may not stand beside one that asks for a hidden state: llama.cpp
        then computes the logits of all. Raises EngineError when llama.cpp fails, and forgets
        everything.
        """
        hidden = any(piece.hidden for piece in pieces)
        assert not hidden or all(piece.logits for piece in pieces)
        llama_cpp.llama_set_embeddings(self._ctx, hidden)
        firsts = self._fill_batch(pieces)
        status = llama_cpp.llama_decode(self._ctx, self._batch)
        if status != 0:
            self._forget_all()
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

    def _forget_all(self) -> None:
        llama_cpp.llama_memory_clear(self.memory, True)
        self.prefixes.clear()
        for sequence in (self.spare, *self.slots):
            sequence.tokens.clear()

    def close(self) -> None:
        if self._ctx:
            llama_cpp.llama_batch_free(self._batch)
            llama_cpp.llama_free(self._ctx)
            self._ctx = None


class CachedSequence:
    """Tokens of one request, or of one branch of it, whose keys and values are in the cache."""

    def __init__(self, context: Context, id: int, size: int) -> None:
        self._context = context
        self.id = id
        self.size = size
        self.tokens: list[int] = []
        self._prompt: tuple[int, ...] = ()
        self._num_branches = 0

    def start(self, prompt: Sequence[int]) -> None:
        """Become the longest known beginning of `prompt`, but not all of it."""
        if self._context.can_fork:
            self._keep_shared(prompt)
        source, length = self._longest_elsewhere(prompt)
        here = common_prefix(self.tokens, prompt)
        if length > here:
            self._remove(0)
            self._copy(source, self.id, length)
            self.tokens = list(prompt[:length])
        self.truncate(min(max(here, length), len(prompt) - 1))
        self._prompt = tuple(prompt)

    def _longest_elsewhere(self, prompt: Sequence[int]) -> tuple[int, int]:
        """Which kept beginning or other slot shares most tokens with `prompt`, and how many."""
        if not self._context.can_fork:
            return 0, 0
        match = self._context.prefixes.best(prompt)
        found = [(slot.id, common_prefix(slot.tokens, prompt)) for slot in self._context.slots]
        if match is not None:
            found.insert(0, match)
        return max(found, key=lambda source: source[1])

    def _keep_shared(self, prompt: Sequence[int]) -> None:
        """Keep what the last prompt shares with others before this one overwrites it."""
        prefixes = self._context.prefixes
        last = self._prompt[: common_prefix(self._prompt, self.tokens)]
        length = prefixes.shared_length(last, prompt)
        prefixes.note(last)
        if length:
            kept, dropped = prefixes.keep(last[:length])
            for old in dropped:
                llama_cpp.llama_memory_seq_rm(self._context.memory, old, -1, -1)
            self._copy(self.id, kept, length)

    def truncate(self, length: int) -> None:
        """Forget all tokens from `length` on; recurrent memories, which cannot, forget all."""
        if length >= len(self.tokens):
            return
        del self.tokens[length if self._remove(length) else 0 :]
        if not self.tokens:
            self._remove(0)

    def fork(self, count: int) -> list[CachedSequence]:
        """`count` branches, at most MAX_BRANCHES, that begin as copies of this sequence."""
        assert 0 < count <= MAX_BRANCHES, count
        self._num_branches = count
        branches = [CachedSequence(self._context, self.id + 1 + i, self.size) for i in range(count)]
        for branch in branches:
            self._copy(self.id, branch.id, len(self.tokens))
            branch.tokens = list(self.tokens)
        return branches

    def drop_branches(self) -> None:
        """Forget all branches; this sequence stays."""
        for i in range(self._num_branches):
            llama_cpp.llama_memory_seq_rm(self._context.memory, self.id + 1 + i, -1, -1)
        self._num_branches = 0

    def read(self, tokens: Sequence[int]) -> None:
        """Append tokens in a pass of their own, without logits."""
        self._context.evaluate([Piece(self, tokens, logits=False)])

    def extend(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Append tokens in a pass of their own; logits after each, shape (tokens, vocabulary)."""
        (rows,) = self._context.evaluate([Piece(self, tokens)])
        return rows.logits

    def _copy(self, source: int, target: int, length: int) -> None:
        llama_cpp.llama_memory_seq_cp(self._context.memory, source, target, 0, length)

    def _remove(self, start: int) -> bool:
        """Whether the memory could drop what is there from `start` on; all of it it always can."""
        return bool(llama_cpp.llama_memory_seq_rm(self._context.memory, self.id, start, -1))
