"""Tokens of a checkpoint: its tokenizer, and which of them end a turn."""

from __future__ import annotations

from typing import Any

from adaptive_sd.engines.hf_tokenizer import HFTokenizer
from adaptive_sd.errors import EngineError


class Vocabulary(HFTokenizer):
    """See adaptive_sd.engines.generation.Vocabulary; each token's bytes are found once."""

    def __init__(self, tokenizer: Any, end_tokens: frozenset[int]) -> None:
        """`end_tokens` end a turn, besides the tokenizer's own. Raises EngineError."""
        if not getattr(tokenizer, "is_fast", False):
            raise EngineError(
                f"its tokenizer ({type(tokenizer).__name__}) has no tokenizer.json; take a "
                "checkpoint that has one."
            )
        self._pieces: dict[int, bytes] = {}
        super().__init__(tokenizer)
        own_end: int | None = tokenizer.eos_token_id
        self._ends = end_tokens if own_end is None else end_tokens | {own_end}
        if not self._ends:
            raise EngineError("its tokenizer names no token that ends a turn (eos_token).")
        self.end_token = min(self._ends) if own_end is None else own_end
        """The token that ends a turn."""

    def is_end(self, token: int) -> bool:
        return token in self._ends

    def piece(self, token: int) -> bytes:
        """The bytes of one token; empty for control tokens, and for ids that are none."""
        known = self._pieces.get(token)
        if known is None:
            known = self._pieces[token] = super().piece(token)
        return known
