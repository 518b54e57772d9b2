"""Increments of an answer: text, its tokens with their evidence, and what was counted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

TOP_LOGPROBS = 5
"""Likeliest tokens asked for at each position: evidence of doubt, within what all servers allow."""


class Token(NamedTuple):
    """One token of an answer; entropy and margin are None where only its own chance is known.

    `number` is the model's own, None where that is not known.
    """

    content: bytes
    logprob: float
    entropy: float | None = None
    margin: float | None = None
    number: int | None = None


class Usage(NamedTuple):
    """What the server counted."""

    tokens_in: int
    tokens_out: int
    num_cached: int | None = None


class Delta(NamedTuple):
    """What one document adds. `tokens` is None where the server does not tell them."""

    text: str = ""
    tokens: Sequence[Token] | None = None
    finish: str | None = None
    stop_string: bool = False
    usage: Usage | None = None


def token_of(
    content: bytes, logprob: float, likeliest: Iterable[float], number: int | None = None
) -> Token:
    """With the evidence that natural-log probabilities of the likeliest tokens give.

    The entropy counts all other tokens as one, so it is a lower bound; the margin is that of the
    logits of the two likeliest.
    """
    top = sorted(likeliest, reverse=True)
    if len(top) < 2:
        return Token(content, logprob, number=number)
    rest = max(0.0, 1.0 - sum(map(math.exp, top)))
    entropy = -sum(math.exp(p) * p for p in top) - (rest * math.log(rest) if rest else 0.0)
    return Token(content, logprob, max(0.0, entropy), top[0] - top[1], number)
