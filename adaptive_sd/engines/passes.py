"""What a request asks of the next pass over a model, and what it gets back."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

MAX_BRANCHES = 8
"""Most answers to one prompt that are decoded together."""


class TokenSequence(Protocol):
    """The evaluated tokens of one request in a model's cache; grows by passes."""

    id: int
    size: int
    """Most tokens it may have."""

    tokens: list[int]
    num_to_keep: int
    """First tokens of its prompt that the cache keeps as soon as they are read; 0: none."""

    def start(self, prompt: Sequence[int]) -> None:
        """Become the longest known beginning of `prompt`, but not all of it."""
        ...

    def truncate(self, length: int) -> None:
        """Forget all tokens from `length` on, or all of them where the memory can do no other."""
        ...

    def fork(self, count: int) -> Sequence[TokenSequence]:
        """`count` branches, at most MAX_BRANCHES, that begin as copies of this one."""
        ...

    def drop_branches(self) -> None:
        """Forget all branches; this one stays."""
        ...


class Piece(NamedTuple):
    """Tokens to append to a sequence: `logits` after each, and the hidden state after the first.

    Of tokens without logits a pass may take the first ones only.
    """

    sequence: TokenSequence
    tokens: Sequence[int]
    logits: bool = True
    hidden: bool = False


class Rows(NamedTuple):
    """What a pass gave for one piece.

    `logits` has shape (tokens, vocabulary), no rows where none were asked for; `hidden` (width,).
    """

    logits: NDArray[np.float32]
    hidden: NDArray[np.float16] | None = None


Steps = Generator[list[Piece], list[Rows], T]
"""A request while it runs: yields what it wants from its next pass, gets its rows, ends with T."""


class Cache(Protocol):
    """A model's cache: a sequence for each request at a time, and passes over all of them."""

    @property
    def slots(self) -> Sequence[TokenSequence]: ...

    def evaluate(self, pieces: Sequence[Piece]) -> list[Rows]:
        """Append all pieces, at most one for a sequence, in one pass.

        Raises EngineError when it fails; then every sequence is empty.
        """
        ...
