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
    """Medians over a few passes after one to warm up; takes 2 to 4 seconds on two cores."""
    context.truncate(0)
    context.extend([_TOKEN])
    prefill_s = _seconds(context.read, [_TOKEN] * PREFILL_CHUNK, 2) / PREFILL_CHUNK
    decode_s = _seconds(context.extend, [_TOKEN], 4 * _REPEATS)
    verify_s = [(rows, _seconds(context.extend, [_TOKEN] * rows, _REPEATS)) for rows in SPAN_ROWS]
    context.truncate(0)
    return Rates(prefill_s, decode_s, tuple(verify_s))


def _seconds(
    run: Callable[[Sequence[int]], object], tokens: Sequence[int], num_repeats: int
) -> float:
    times = []
    for _ in range(num_repeats):
        start_s = time.perf_counter()
        run(tokens)
        times.append(time.perf_counter() - start_s)
    return statistics.median(times)
