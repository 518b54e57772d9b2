"""Measures how fast a model reads, decodes and verifies."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial

from adaptive_sd.engines.scheduling import MAX_TOKENS
from adaptive_sd.engines.sequences import CachedSequence
from adaptive_sd.engines.verification import SPAN_ROWS
from adaptive_sd.errors import CancelledError
from adaptive_sd.types import Rates

_TOKEN = 5  # any token: the time of a pass does not depend on which one it is
_ROUNDS = 3
_DECODED = 4
"""Tokens a round."""
_BUDGET_S = 3.0
"""Most seconds for the passes of one size, however slow the machine is just now."""
_STEADY = 1.5
"""By which factor the best passes of two rounds may differ on an idle machine."""

_IDLE_SHARE = 0.85
"""Of the processor time that its threads could have had, what a measurement has on an idle machine:
.95 to 1; beside one other busy program .45 to .7."""


def measure_rates(
    sequence: CachedSequence, keep_going: Callable[[], bool], *, num_threads: int
) -> Rates:
    """The fastest of a few passes of each size, since other work only slows; some seconds on two
    cores.

    They come in rounds over all sizes, so that a busy moment spoils no size. The caller keeps the
    model's own requests still; other models and programs may well run: then it is warned that the
    rates may be too slow. `num_threads` do the passes, 0 where a GPU does. Every pass begins with
    an empty cache, so that any context is large enough. Raises CancelledError when `keep_going`
    says False.
    """
    timed_s = used_s = 0.0

    def seconds(run: Callable[[Sequence[int]], object], num_tokens: int) -> float:
        nonlocal timed_s, used_s
        if not keep_going():
            raise CancelledError("measuring was interrupted.")
        sequence.truncate(0)
        start_s, start_used_s = time.perf_counter(), time.process_time()
        run([_TOKEN] * num_tokens)
        took_s = time.perf_counter() - start_s
        timed_s += took_s
        used_s += time.process_time() - start_used_s
        return took_s

    chunk, extend = min(MAX_TOKENS, sequence.size), sequence.extend
    spans = [rows for rows in SPAN_ROWS if rows <= sequence.size]
    seconds(extend, 1)
    timed_s = used_s = 0.0  # the first pass waits for the disk
    found: dict[int, list[float]] = {}  # of each round, by rows; 0: reading
    for _ in range(_ROUNDS):
        for rows in (0, 1, *spans):
            known = found.setdefault(rows, [])
            if sum(known) < _BUDGET_S:
                once = partial(seconds, extend if rows else sequence.read, rows or chunk)
                known.append(min(once() for _ in range(_DECODED if rows == 1 else 1)))
    best = {rows: min(known) for rows, known in found.items()}
    varied = max(max(found[rows]) / best[rows] for rows in (0, 1))
    sequence.truncate(0)
    _warn_of_others(varied, used_s, num_threads * timed_s)
    verify_s = tuple((rows, best[rows]) for rows in spans)
    return Rates(best[0] / chunk, best[1], verify_s)


def _warn_of_others(varied: float, used_s: float, all_s: float) -> None:
    """Where the machine was not idle: `used_s` of the `all_s` that its threads could have had."""
    told = []
    if varied > _STEADY:
        told.append(f"it varied by a factor of {varied:.1f}")
    if used_s < _IDLE_SHARE * all_s:
        told.append(f"other programs took {1 - used_s / all_s:.0%} of the processor")
    if told:
        warnings.warn(
            f"the machine was busy while a model's speed was measured ({', '.join(told)}); the "
            f"best of {_ROUNDS} rounds is kept, yet costs may be too high; `adaptive-sd doctor "
            "--measure` on an idle machine measures again.",
            stacklevel=2,
        )
