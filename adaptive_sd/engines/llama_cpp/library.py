"""One GGUF model and its context over llama.cpp's C API; knows tokens and rows, not answers."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from adaptive_sd.engines.alignment import common_prefix
from adaptive_sd.engines.llama_cpp.prefixes import BUDGET_TOKENS, NUM_SLOTS, PrefixTable
from adaptive_sd.engines.verification import MAX_ROWS
from adaptive_sd.errors import DamagedModelError, EngineError

PREFILL_CHUNK = 128
"""Prompt tokens read in one pass: small enough that a cancelled request ends soon."""

MAX_BRANCHES = 8
"""Most answers that are decoded together."""

_FIRST_BRANCH = NUM_SLOTS + 1  # after the running sequence and the kept beginnings

_silent = llama_cpp.llama_log_callback(lambda level, text, user_data: None)


class Model:
    """Weights and vocabulary of one GGUF file."""

    def __init__(self, path: Path, *, num_gpu_layers: int = 0) -> None:
        """Raises DamagedModelError when llama.cpp cannot load the file."""
        llama_cpp.llama_log_set(_silent, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = num_gpu_layers
        self._model = llama_cpp.llama_model_load_from_file(os.fsencode(path), params)
        if not self._model:
            raise DamagedModelError(
                f"{path}: llama.cpp cannot load this model; fetch it again with "
                f"`adaptive-sd models pull {path.stem}`."
            )
        self._vocab = llama_cpp.llama_model_get_vocab(self._model)
        self.num_vocab = int(llama_cpp.llama_vocab_n_tokens(self._vocab))
        self.num_parameters = int(llama_cpp.llama_model_n_params(self._model))
        self.hidden_width = int(llama_cpp.llama_model_n_embd(self._model))
        self.train_context = int(llama_cpp.llama_model_n_ctx_train(self._model))
        self._pieces: dict[int, bytes] = {}

    @property
    def handle(self) -> object:
        return self._model

    @property
    def end_token(self) -> int:
        """The token that ends a turn."""
        eot = int(llama_cpp.llama_vocab_eot(self._vocab))
        return eot if eot >= 0 else int(llama_cpp.llama_vocab_eos(self._vocab))

    @property
    def chat_template(self) -> str | None:
        template = llama_cpp.llama_model_chat_template(self._model, None)
        return template.decode("utf-8") if template else None

    @property
    def adds_bos(self) -> bool:
        return bool(llama_cpp.llama_vocab_get_add_bos(self._vocab))

    @property
    def bos_text(self) -> str:
        return self._token_text(int(llama_cpp.llama_vocab_bos(self._vocab)))

    @property
    def eos_text(self) -> str:
        return self._token_text(int(llama_cpp.llama_vocab_eos(self._vocab)))

    def is_end(self, token: int) -> bool:
        return bool(llama_cpp.llama_vocab_is_eog(self._vocab, token))

    def tokenize(self, text: str, *, special: bool, bos: bool = False) -> list[int]:
        """Tokens of `text`; only with `special` does "<|im_end|>" become a control token."""
        raw = text.encode("utf-8")
        size = len(raw) + 8
        while True:
            buffer = (llama_cpp.llama_token * size)()
            count = llama_cpp.llama_tokenize(self._vocab, raw, len(raw), buffer, size, bos, special)
            if count >= 0:
                return list(buffer[:count])
            size = -count

    def piece(self, token: int) -> bytes:
        """The bytes of one token; empty for control tokens."""
        known = self._pieces.get(token)
        if known is None:
            known = self._pieces[token] = self._read_piece(token)
        return known

    def _read_piece(self, token: int) -> bytes:
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            count = llama_cpp.llama_token_to_piece(self._vocab, token, buffer, size, 0, False)
            if count >= 0:
                return buffer.raw[:count]
            size = -count

    def _token_text(self, token: int) -> str:
        if token < 0:
            return ""
        return bytes(llama_cpp.llama_vocab_get_text(self._vocab, token)).decode("utf-8")

    def close(self) -> None:
        if self._model:
            llama_cpp.llama_model_free(self._model)
            self._model = None


class Context:
    """The KV cache of one sequence, the tokens in it, and the passes that extend it."""

    def __init__(self, model: Model, *, size: int, num_threads: int) -> None:
        """Raises EngineError when the context cannot be made (most often: memory)."""
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = size + BUDGET_TOKENS
        params.kv_unified = True  # kept beginnings share their cells with the running sequence
        params.n_batch = params.n_ubatch = PREFILL_CHUNK
        params.n_seq_max = NUM_SLOTS + 1 + MAX_BRANCHES
        params.n_threads = params.n_threads_batch = num_threads
        params.no_perf = True
        self._model = model
        self._ctx = llama_cpp.llama_init_from_model(model.handle, params)
        if not self._ctx:
            raise EngineError(
                f"no memory for a context of {size} tokens; choose a smaller `context`."
            )
        self._memory = llama_cpp.llama_get_memory(self._ctx)
        self._can_copy = not (
            llama_cpp.llama_model_is_recurrent(model.handle)
            or llama_cpp.llama_model_is_hybrid(model.handle)
        )
        self._batch = llama_cpp.llama_batch_init(PREFILL_CHUNK, 0, 1)
        self._prefixes = PrefixTable()
        self._prompt: tuple[int, ...] = ()
        self.size = size
        self.tokens: list[int] = []
        """Tokens whose keys and values are in the running sequence, in order."""
        self._lengths: list[int] = []  # of the branches

    def start(self, prompt: Sequence[int]) -> None:
        """Make the running sequence the longest known beginning of `prompt`, but not all of it."""
        if self._can_copy:
            self._keep_shared(prompt)
        match = self._prefixes.best(prompt)
        here = common_prefix(self.tokens, prompt)
        if match is not None and match.length > here:
            llama_cpp.llama_memory_seq_rm(self._memory, 0, -1, -1)
            llama_cpp.llama_memory_seq_cp(self._memory, match.slot, 0, 0, match.length)
            self.tokens = list(prompt[: match.length])
        self.truncate(min(common_prefix(self.tokens, prompt), len(prompt) - 1))
        self._prompt = tuple(prompt)

    def _keep_shared(self, prompt: Sequence[int]) -> None:
        """Keep what the last prompt shares with others before this one overwrites it."""
        last = self._prompt[: common_prefix(self._prompt, self.tokens)]
        length = self._prefixes.shared_length(last, prompt)
        self._prefixes.note(last)
        if length:
            slot, dropped = self._prefixes.keep(last[:length])
            for old in dropped:
                llama_cpp.llama_memory_seq_rm(self._memory, old, -1, -1)
            llama_cpp.llama_memory_seq_cp(self._memory, 0, slot, 0, length)

    def truncate(self, length: int) -> None:
        """Forget all tokens from `length` on; refills nothing."""
        if length >= len(self.tokens):
            return
        if llama_cpp.llama_memory_seq_rm(self._memory, 0, length, -1):
            del self.tokens[length:]
        else:  # recurrent and sliding-window memories cannot drop a tail: start over
            self._reset()

    def _reset(self) -> None:
        llama_cpp.llama_memory_clear(self._memory, True)
        self._prefixes.clear()
        self.tokens.clear()

    def read(self, tokens: Sequence[int]) -> None:
        """Extend the cache by at most PREFILL_CHUNK tokens without logits."""
        self._decode(tokens, logits=False)

    def extend(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Extend the cache; logits after each token, shape (len(tokens), num_vocab), a copy."""
        self._decode(tokens, logits=True)
        return self._rows(len(tokens))

    def extend_with_hidden(
        self, tokens: Sequence[int]
    ) -> tuple[NDArray[np.float32], NDArray[np.float16]]:
        """As `extend`, with the hidden state after the first token, from the same pass."""
        llama_cpp.llama_set_embeddings(self._ctx, True)
        try:
            rows = self.extend(tokens)
            pointer = llama_cpp.llama_get_embeddings_ith(self._ctx, 0)
            hidden = np.ctypeslib.as_array(pointer, shape=(self._model.hidden_width,))
            return rows, hidden.astype(np.float16)
        finally:
            llama_cpp.llama_set_embeddings(self._ctx, False)

    @property
    def can_fork(self) -> bool:
        """Whether sequences can share cells; recurrent memories cannot."""
        return bool(self._can_copy)

    def fork(self, count: int) -> None:
        """Begin `count` branches, at most MAX_BRANCHES, as copies of the running sequence."""
        assert 0 < count <= MAX_BRANCHES, count
        for branch in range(count):
            llama_cpp.llama_memory_seq_cp(self._memory, 0, _FIRST_BRANCH + branch, -1, -1)
        self._lengths = [len(self.tokens)] * count

    def extend_branches(self, tokens: Sequence[tuple[int, int]]) -> NDArray[np.float32]:
        """Append (branch, token) pairs in one pass; logits after each, a copy."""
        self._pass(
            [(token, self._lengths[b], _FIRST_BRANCH + b) for b, token in tokens], logits=True
        )
        for branch, _ in tokens:
            self._lengths[branch] += 1
        return self._rows(len(tokens))

    def drop_branches(self) -> None:
        """Forget all branches; the running sequence stays."""
        for branch in range(len(self._lengths)):
            llama_cpp.llama_memory_seq_rm(self._memory, _FIRST_BRANCH + branch, -1, -1)
        self._lengths = []

    def _decode(self, tokens: Sequence[int], *, logits: bool) -> None:
        count, start = len(tokens), len(self.tokens)
        assert 0 < count <= (MAX_ROWS if logits else PREFILL_CHUNK), count
        assert start + count <= self.size, (start, count)
        self._pass([(token, start + i, 0) for i, token in enumerate(tokens)], logits=logits)
        self.tokens.extend(tokens)

    def _pass(self, entries: Sequence[tuple[int, int, int]], *, logits: bool) -> None:
        """One pass over (token, position, sequence) entries; forgets everything if it fails."""
        batch = self._batch
        batch.n_tokens = len(entries)
        for i, (token, position, sequence) in enumerate(entries):
            batch.token[i] = token
            batch.pos[i] = position
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = sequence
            batch.logits[i] = logits
        status = llama_cpp.llama_decode(self._ctx, batch)
        if status != 0:
            self._reset()
            raise EngineError(f"llama_decode failed with status {status} at token {entries[0][1]}.")

    def _rows(self, count: int) -> NDArray[np.float32]:
        pointer = llama_cpp.llama_get_logits(self._ctx)
        return np.ctypeslib.as_array(pointer, shape=(count, self._model.num_vocab)).copy()

    def close(self) -> None:
        if self._ctx:
            llama_cpp.llama_batch_free(self._batch)
            llama_cpp.llama_free(self._ctx)
            self._ctx = None
