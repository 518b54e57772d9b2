"""Seconds a token of a hosted model, by the clock of whoever waits for it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from statistics import median

from adaptive_sd.types import Draft, Message, Rates, Sampling

_ROUNDS = 3
_NUM_WORDS = 600
_WORD_TOKENS = 8
"""Of six digits and a space, at most."""

_TEMPLATE_TOKENS = 200
_NUM_TOKENS = 48
_LEAST_S = 1e-7

Ask = Callable[[Sequence[Message], Sampling], Draft]


def measure_rates(ask: Ask, context: int = 0) -> Rates:
    """From long prompts with one token of answer, short ones with one, and long answers.

    They fit the `context`, of so many tokens; 0: it is not known, and taken to be large. No two prompts begin alike, so that nothing is in a cache of prefixes.
    """
    rng = random.Random()
    num_words = min(_NUM_WORDS, max(1, (context - _TEMPLATE_TOKENS) // _WORD_TOKENS))
    seen = [_round(ask, rng, num_words if context else _NUM_WORDS) for _ in range(_ROUNDS)]
    prefill_s, decode_s = (median(each) for each in zip(*seen, strict=True))
    return Rates.linear(prefill_s, decode_s)


def _round(ask: Ask, rng: random.Random, num_words: int) -> tuple[float, float]:
    long = " ".join(f"{rng.randrange(10**6)}" for _ in range(num_words))
    reading = ask([Message("user", f"{long}\nReply with yes.")], Sampling(max_tokens=1))
    short = f"{rng.randrange(10**6)}: count from 1 to 100."
    starting = ask([Message("user", short)], Sampling(max_tokens=1))
    writing = ask([Message("user", short)], Sampling(max_tokens=_NUM_TOKENS))
    num_read = max(1, reading.tokens_in - starting.tokens_in)
    num_written = max(1, writing.tokens_out - starting.tokens_out)
    return (
        max(_LEAST_S, (reading.latency_s - starting.latency_s) / num_read),
        max(_LEAST_S, (writing.latency_s - starting.latency_s) / num_written),
    )
