"""Seconds a token of a hosted model, by the clock of whoever waits for it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from statistics import median

from adaptive_sd.types import Draft, Message, Rates, Sampling

_ROUNDS = 3
_NUM_WORDS = 600
_NUM_TOKENS = 48
_MOST_A_WORD = 12
"""Tokens of a word of six digits, whatever the tokenizer, with some room for the rest."""

_LEAST_S = 1e-7

Ask = Callable[[Sequence[Message], Sampling], Draft]


def measure_rates(ask: Ask, context: int) -> Rates:
    """From long prompts with one token of answer, short ones with one, and long answers.

    All fit a context of so many tokens (0 where it is not known). No two prompts begin alike, so
    that nothing is in a cache of prefixes.
    """
    rng = random.Random()
    num_words = min(_NUM_WORDS, context // _MOST_A_WORD or _NUM_WORDS)
    seen = [_round(ask, num_words, rng) for _ in range(_ROUNDS)]
    prefill_s, decode_s = (median(each) for each in zip(*seen, strict=True))
    return Rates.linear(prefill_s, decode_s)


def _round(ask: Ask, num_words: int, rng: random.Random) -> tuple[float, float]:
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
