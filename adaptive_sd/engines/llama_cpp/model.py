"""One GGUF model over llama.cpp's C API: weights and vocabulary."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import llama_cpp

from adaptive_sd.errors import DamagedModelError

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
