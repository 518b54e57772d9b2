"""A tokenizer in Hugging Face's layout, as this project needs it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class HFTokenizer:
    """See adaptive_sd.engines.chat.Tokenizer. Used by one thread at a time."""

    def __init__(self, tokenizer: Any) -> None:
        """Of transformers' AutoTokenizer."""
        self._tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder.items()
        self._added: dict[int, str] = {number: str(token) for number, token in added}
        marked = {number for number, token in added if token.special}  # more than it has names for
        self._special = marked | set(tokenizer.all_special_ids)
        self._byte_of = _byte_of() if _is_byte_level(tokenizer) else {}

    @property
    def chat_template(self) -> str | None:
        template = self._tokenizer.chat_template
        return template if isinstance(template, str) else None

    @property
    def adds_bos(self) -> bool:
        bos = self._tokenizer.bos_token_id
        return bos is not None and self._tokenizer("a")["input_ids"][:1] == [bos]

    @property
    def bos_text(self) -> str:
        return self._tokenizer.bos_token or ""

    @property
    def eos_text(self) -> str:
        return self._tokenizer.eos_token or ""

    def tokenize(self, text: str, *, special: bool, bos: bool = False) -> list[int]:
        """See adaptive_sd.engines.chat.Tokenizer."""
        found = self._tokenizer(text, add_special_tokens=False, split_special_tokens=not special)
        return [*([self._tokenizer.bos_token_id] if bos else []), *found["input_ids"]]

    def text(self, token_ids: Sequence[int]) -> str:
        """Special tokens have none."""
        return b"".join(map(self.piece, token_ids)).decode(errors="replace")

    def piece(self, token: int) -> bytes:
        """The bytes that a token adds to an answer."""
        if token in self._special:
            return b""
        if token in self._added:
            return self._added[token].encode()
        try:
            name = self._tokenizer.convert_ids_to_tokens(token) or ""
        except (IndexError, KeyError, OverflowError):  # rows of padded weights are no token's
            name = ""
        if self._byte_of:
            return bytes(self._byte_of[char] for char in name)
        if found := _BYTE.fullmatch(name):
            return bytes([int(found[1], 16)])
        return name.replace("\u2581", " ").encode()


def _is_byte_level(tokenizer: Any) -> bool:
    """Whether each character of its tokens' names stands for a byte."""
    return b'"ByteLevel"' in tokenizer.backend_tokenizer.decoder.__getstate__()


def _byte_of() -> dict[str, int]:
    """The characters by which GPT-2 (and most since) writes bytes: printable ones for all 256."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in shown]
    return {chr(b): b for b in shown} | {chr(256 + i): b for i, b in enumerate(others)}
