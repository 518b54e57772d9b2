"""A tokenizer in Hugging Face's layout, as this project needs it."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from typing import Any

from adaptive_sd.errors import EngineError

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class HFTokenizer:
    """See adaptive_sd.engines.chat.Tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        """Of transformers' AutoTokenizer."""
        self._tokenizer = tokenizer
        self._lock = threading.Lock()
        added = tokenizer.added_tokens_decoder.items()
        self._added: dict[int, str] = {number: str(token) for number, token in added}
        marked = {number for number, token in added if token.special}  # more than it has names for
        self._special = marked | set(tokenizer.all_special_ids)
        self._byte_of = _byte_of() if _is_byte_level(tokenizer) else {}
        bos = tokenizer.bos_token_id
        self.adds_bos = bos is not None and tokenizer("a")["input_ids"][:1] == [bos]
        self._adds_space = self.text(self._token_ids("a", special=False)) == " a"

    @property
    def chat_template(self) -> str | None:
        """The one named "default" where there are several. Raises EngineError without it."""
        template: str | dict[str, str] | None = self._tokenizer.chat_template
        if not isinstance(template, dict):
            return template
        if "default" not in template:
            raise EngineError(
                f'its chat templates are {", ".join(template)}; name the one for chats "default".'
            )
        return template["default"]

    @property
    def bos_text(self) -> str:
        return self._tokenizer.bos_token or ""

    @property
    def eos_text(self) -> str:
        return self._tokenizer.eos_token or ""

    def tokenize(self, text: str, *, special: bool, bos: bool = False) -> list[int]:
        """See adaptive_sd.engines.chat.Tokenizer; without `bos` the text goes on: no space comes
        before it that it has not.
        """
        if bos:
            return [self._tokenizer.bos_token_id, *self._token_ids(text, special=special)]
        if not self._adds_space:
            return self._token_ids(text, special=special)
        tokens = self._token_ids(f"\n{text}", special=special)
        for place in (1, 2):
            if self.text(tokens[:place]) == " \n":
                return tokens[place:]
        return self._token_ids(text, special=special)  # a line's end is none of its tokens

    def _token_ids(self, text: str, *, special: bool) -> list[int]:
        """As it is at the beginning. What becomes of special tokens is a state of the tokenizer."""
        with self._lock:
            found: list[int] = self._tokenizer(
                text, add_special_tokens=False, split_special_tokens=not special
            )["input_ids"]
        return found

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
