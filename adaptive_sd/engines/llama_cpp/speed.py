"""Measures how fast a context reads, decodes and verifies."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

from adaptive_sd.engines.llama_cpp.library import PREFILL_CHUNK, Context
from adaptive_sd.engines.verification import SPAN_ROWS
from adaptive_sd.types import Rates

_TOKEN = 5  # any token: the time of a pass does not depend on which one it is
_REPEATS = 3


def measure_rates(context: Context) -> Rates:
    """Medians over a few passes after one to warm up; takes 2 to 8 seconds on two cores.

    Every pass begins with an empty cache, so that any context is large enough.
    """
    chunk = min(PREFILL_CHUNK, context.size)
    _seconds(context, context.extend, 1, 1)
    prefill_s = _seconds(context, context.read, chunk, 2) / chunk
    decode_s = _seconds(context, context.extend, 1, 4 * _REPEATS)
    verify_s = [
        (rows, _seconds(context, context.extend, rows, _REPEATS))
        for rows in SPAN_ROWS
        if rows <= context.size
    ]
    context.truncate(0)
    return Rates(prefill_s, decode_s, tuple(verify_s))


def _seconds(
    context: Context, run: Callable[[Sequence[int]], object], num_tokens: int, num_repeats: int
) -> float:
    times = []
    for _ in range(num_repeats):
        context.truncate(0)
        start_s = time.perf_counter()
        run([_TOKEN] * num_tokens)
        times.append(time.perf_counter() - start_s)
    return statistics.median(times)
