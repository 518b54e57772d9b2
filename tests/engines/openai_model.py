"""A tiny deterministic language model over pieces of bytes, for a server to play."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

PIECES = [b"a", b"b", b"ab", b" the", b"the", b" ", b"\n", b"so", b" so", b".", b"\xc3", b"\xa9"]
"""Some overlap, and the last two are halves of a character."""

NUM_BYTES = 256
USER, ASSISTANT, SYSTEM, TURN, END = range(NUM_BYTES + len(PIECES), NUM_BYTES + len(PIECES) + 5)
NUM_VOCAB = END + 1
_ROLES = {"user": USER, "assistant": ASSISTANT, "system": SYSTEM}


@dataclass(frozen=True)
class TinyModel:
    """Likes a piece by what stands in the last `reach` places and by `seed`; ends now and then."""

    seed: int = 0
    sharpness: float = 3.0
    reach: int = 2
    known: dict[bytes, NDArray[np.float64]] = field(default_factory=dict, repr=False)

    def tokens(self, text: str) -> list[int]:
        """The longest piece first, else bytes."""
        raw, found = text.encode(), []
        while raw:
            piece = max((p for p in PIECES if raw.startswith(p)), key=len, default=b"")
            found.append(NUM_BYTES + PIECES.index(piece) if piece else raw[0])
            raw = raw[len(piece) or 1 :]
        return found

    def chat(self, messages: Sequence[dict[str, str]]) -> list[int]:
        found: list[int] = []
        for message in messages:
            found += [_ROLES[message["role"]], *self.tokens(message["content"]), TURN]
        if messages[-1]["role"] == "assistant":
            return found[:-1]
        return [*found, ASSISTANT]

    def bytes_of(self, token: int) -> bytes:
        if token < NUM_BYTES:
            return bytes([token])
        return PIECES[token - NUM_BYTES] if token < USER else b""

    def text(self, tokens: Sequence[int]) -> str:
        return b"".join(map(self.bytes_of, tokens)).decode(errors="replace")

    def logprobs(self, context: Sequence[int]) -> NDArray[np.float64]:
        """Natural logs over the vocabulary, shape (NUM_VOCAB,)."""
        key = hashlib.sha256(repr((self.seed, *context[-self.reach :])).encode()).digest()
        if key not in self.known:
            rng = np.random.default_rng(list(key))
            logits = np.full(NUM_VOCAB, -30.0)
            logits[NUM_BYTES:USER] = rng.normal(0, self.sharpness, len(PIECES))
            logits[END] = rng.normal(-2, self.sharpness)
            if context[-1] == NUM_BYTES + PIECES.index(b"\xc3"):
                logits[NUM_BYTES + PIECES.index(b"\xa9")] = 30.0
            else:
                logits[NUM_BYTES + PIECES.index(b"\xa9")] = -30.0
            shifted = logits - logits.max()
            self.known[key] = shifted - np.log(np.exp(shifted).sum())
        return self.known[key]

    def greedy(self, context: Sequence[int], limit: int) -> list[int]:
        """Up to `limit` tokens, END the last of them where the answer ends."""
        found: list[int] = []
        while len(found) < limit and END not in found:
            found.append(int(self.logprobs([*context, *found]).argmax()))
        return found

    def name_of(self, token: int) -> str:
        """As a server writes one token by itself."""
        return "<end>" if token == END else self.bytes_of(token).decode(errors="replace")
