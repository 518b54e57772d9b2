"""Measures how fast a model reads, decodes and verifies."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from adaptive_sd.engines.llama_cpp.context import CachedSequence
from adaptive_sd.engines.scheduling import MAX_TOKENS
from adaptive_sd.engines.verification import SPAN_ROWS
from adaptive_sd.errors import CancelledError
from adaptive_sd.types import Rates

_TOKEN = 5  # any token: the time of a pass does not depend on which one it is
_REPEATS = 3
_BUDGET_S = 3.0
"""Most seconds for the passes of one size, however slow the machine is just now."""


def measure_rates(sequence: CachedSequence, keep_going: Callable[[], bool]) -> Rates:
    """The fastest of a few passes each, since other work only slows; some seconds on two cores.

    The caller keeps the model's own requests still; other models and programs may well run.
    Every pass begins with an empty cache, so that any context is large enough. Raises
    CancelledError when `keep_going` says False.
    """

    def seconds(run: Callable[[Sequence[int]], object], num_tokens: int, num_repeats: int) -> float:
        best_s, begin_s = float("inf"), time.perf_counter()
        for _ in range(num_repeats):
            if not keep_going():
                raise CancelledError("measuring was interrupted.")
            sequence.truncate(0)
            start_s = time.perf_counter()
            run([_TOKEN] * num_tokens)
            end_s = time.perf_counter()
            best_s = min(best_s, end_s - start_s)
            if end_s - begin_s > _BUDGET_S:
                break
        return best_s

    chunk = min(MAX_TOKENS, sequence.size)
    seconds(sequence.extend, 1, 1)
    prefill_s = seconds(sequence.read, chunk, 2) / chunk
    decode_s = seconds(sequence.extend, 1, 4 * _REPEATS)
    verify_s = [
        (rows, seconds(sequence.extend, rows, _REPEATS))
        for rows in SPAN_ROWS
        if rows <= sequence.size
    ]
    sequence.truncate(0)
    return Rates(prefill_s, decode_s, tuple(verify_s))
