"""How a hosted model verifies a draft: by what it thinks of each token when it reads them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from adaptive_sd.engines.alignment import DraftTokens
from adaptive_sd.engines.hosted.deltas import Token, token_of
from adaptive_sd.types import Message, Offer


class Failure(Exception):
    """A hosted model did not do what it was asked; `text` says how, of a model that it leaves out.

    Engines have their own kinds of it, which they make errors of ours.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class Checked(NamedTuple):
    """What a model made of a draft: its tokens up to the first that it would not have chosen.

    `ended`: all were accepted, and the answer ends there.
    """

    accepted: tuple[Token, ...]
    ended: bool


class Verifier(Protocol):
    """One model's way; every method raises Failure."""

    async def prompt(self, messages: Sequence[Message]) -> list[int]:
        """The tokens of a chat."""
        ...

    async def draft(self, offer: Offer) -> DraftTokens:
        """The tokens of its text by itself, without an end of turn."""
        ...

    async def text(self, token_ids: Sequence[int]) -> str: ...

    async def check(
        self, prompt: Sequence[int], drafted: Sequence[int], lenience: float
    ) -> Checked:
        """Greedy verification of the drafted tokens after the prompt, in one pass."""
        ...


class Row(NamedTuple):
    """What the model thinks of one drafted token, in natural logs: its chance, the likeliest ones.

    `is_best`: it is the one that a greedy answer would have.
    """

    content: bytes
    logprob: float
    is_best: bool
    likeliest: Sequence[float]
    number: int | None = None


def accept(rows: Iterable[Row], lenience: float) -> tuple[Token, ...]:
    """The tokens up to the first that is not the best, nor near enough to it."""
    accepted = []
    for row in rows:
        if not row.is_best and row.logprob <= max(row.likeliest) - lenience:
            break
        accepted.append(token_of(row.content, row.logprob, row.likeliest, row.number))
    return tuple(accepted)
