"""Measures how fast a model reads, decodes and verifies."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence

from adaptive_sd.engines.scheduling import MAX_TOKENS
from adaptive_sd.engines.sequences import CachedSequence
from adaptive_sd.engines.verification import SPAN_ROWS
from adaptive_sd.errors import CancelledError
from adaptive_sd.types import Rates

_TOKEN = 5  # any token: the time of a pass does not depend on which one it is
_REPEATS = 3
_BUDGET_S = 3.0
"""Most seconds for the passes of one size, however slow the machine is just now."""

_IDLE_SHARE = 0.85
"""Of the processor time that its threads could have had, what a measurement has on an idle machine:
.95 to 1; beside one other busy program .45 to .7."""


def measure_rates(
    sequence: CachedSequence, keep_going: Callable[[], bool], *, num_threads: int
) -> Rates:
    """The fastest of a few passes each, since other work only slows; some seconds on two cores.

    The caller keeps the model's own requests still; other models and programs may well run: then
    it is warned that the rates are too slow. `num_threads` do the passes, 0 where a GPU does.
    Every pass begins with an empty cache, so that any context is large enough. Raises
    CancelledError when `keep_going` says False.
    """
    timed_s = used_s = 0.0

    def seconds(run: Callable[[Sequence[int]], object], num_tokens: int, num_repeats: int) -> float:
        nonlocal timed_s, used_s
        best_s, begin_s = float("inf"), time.perf_counter()
        for _ in range(num_repeats):
            if not keep_going():
                raise CancelledError("measuring was interrupted.")
            sequence.truncate(0)
            start_s, start_used_s = time.perf_counter(), time.process_time()
            run([_TOKEN] * num_tokens)
            end_s = time.perf_counter()
            timed_s += end_s - start_s
            used_s += time.process_time() - start_used_s
            best_s = min(best_s, end_s - start_s)
            if end_s - begin_s > _BUDGET_S:
                break
        return best_s

    chunk = min(MAX_TOKENS, sequence.size)
    seconds(sequence.extend, 1, 1)
    timed_s = used_s = 0.0  # the first pass waits for the disk
    prefill_s = seconds(sequence.read, chunk, 2) / chunk
    decode_s = seconds(sequence.extend, 1, 4 * _REPEATS)
    verify_s = [
        (rows, seconds(sequence.extend, rows, _REPEATS))
        for rows in SPAN_ROWS
        if rows <= sequence.size
    ]
    sequence.truncate(0)
    if used_s < _IDLE_SHARE * num_threads * timed_s:
        warnings.warn(
            f"other programs took {1 - used_s / (num_threads * timed_s):.0%} of the processor "
            "while a model's speed was measured, so costs will be too high; `adaptive-sd doctor "
            "--measure` measures again.",
            stacklevel=2,
        )
    return Rates(prefill_s, decode_s, tuple(verify_s))
