"""Tokens of a hub tokenizer: text to ids and ids to bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from adaptive_sd.errors import EngineError


class Vocabulary:
    """Of a tokenizer of the `tokenizers` library."""

    def __init__(self, tokenizer: Any, end_tokens: frozenset[int]) -> None:
        """`end_tokens` end a turn, besides the tokenizer's own. Raises EngineError."""
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise EngineError(
                f"its tokenizer ({type(tokenizer).__name__}) has no tokenizer.json; take a "
                "checkpoint that has one."
            )
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        self._tokenizer = tokenizer
        added = backend.get_added_tokens_decoder()
        self._plain: dict[int, str] = {
            id: token.content for id, token in added.items() if not token.special
        }
        self._control = {id for id, token in added.items() if token.special}
        self._bytes: Callable[[str], bytes] = _reader(json.loads(backend.to_str()))
        self._pieces: dict[int, bytes] = {}
        own_end = tokenizer.eos_token_id
        self._ends = end_tokens | (set() if own_end is None else {own_end})
        if not self._ends:
            raise EngineError("its tokenizer names no token that ends a turn (eos_token).")
        self._end = min(self._ends) if own_end is None else int(own_end)
        begun = backend.encode("a", add_special_tokens=True).ids
        self.adds_bos = bool(begun) and begun[0] == tokenizer.bos_token_id
        self.bos_text: str = tokenizer.bos_token or ""
        self.eos_text: str = tokenizer.eos_token or ""

    @property
    def end_token(self) -> int:
        """The token that ends a turn."""
        return self._end

    @property
    def chat_template(self) -> str | None:
        template = self._tokenizer.chat_template
        return template.get("default") if isinstance(template, dict) else template

    def is_end(self, token: int) -> bool:
        return token in self._ends

    def tokenize(self, text: str, *, special: bool, bos: bool = False) -> list[int]:
        """Tokens of `text`; only with `special` does "<|im_end|>" become a control token."""
        self._backend.encode_special_tokens = not special
        ids: list[int] = self._backend.encode(text, add_special_tokens=False).ids
        return [self._tokenizer.bos_token_id, *ids] if bos else ids

    def piece(self, token: int) -> bytes:
        """The bytes of one token; empty for control tokens, and for ids that are none."""
        known = self._pieces.get(token)
        if known is None:
            known = self._pieces[token] = self._read_piece(token)
        return known

    def _read_piece(self, token: int) -> bytes:
        if token in self._plain:
            return self._plain[token].encode()
        text = None if token in self._control else self._backend.id_to_token(token)
        return b"" if text is None else self._bytes(text)


def _reader(described: dict[str, Any]) -> Callable[[str], bytes]:
    """How a token's text stands for bytes, by the tokenizer's decoder."""
    decoder = described["decoder"] or {}
    steps = [step["type"] for step in decoder.get("decoders", [decoder]) if step]
    if "ByteLevel" in steps:
        return _byte_level
    if "ByteFallback" in steps or "Metaspace" in steps:
        return _with_fallback
    raise EngineError(f"its tokenizer decodes by {steps or 'nothing'}, which cannot be streamed.")


def _byte_characters() -> dict[str, int]:
    """The bytes by the printable stand-ins that byte-level vocabularies have for them."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in kept]
    return {chr(b): b for b in kept} | {chr(256 + i): b for i, b in enumerate(others)}


_BYTES = _byte_characters()


def _byte_level(text: str) -> bytes:
    return bytes(_BYTES[c] for c in text) if all(c in _BYTES for c in text) else text.encode()


def _with_fallback(text: str) -> bytes:
    """As SentencePiece writes tokens: "\u2581" is a space, "<0x0A>" one byte."""
    if len(text) == 6 and text.startswith("<0x") and text.endswith(">"):
        return bytes.fromhex(text[3:5])
    return text.replace("\u2581", " ").encode()
