"""Times the decision core; medians and tails of many calls, never asserted in a test."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from adaptive_sd.build import Cascade, open_cascade
from adaptive_sd.config import default_config
from adaptive_sd.decision.stopping import optimal_stopping_rule
from adaptive_sd.forms import detect_form
from adaptive_sd.types import Draft

_PROMPT = "Natalia sold clips to 48 friends in April, and half as many in May. How many in all?"
_STOPPING_SIZES = (10, 1_000, 10_000, 100_000, 1_000_000)


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one call."""

    median_s: float
    p99_s: float


@dataclass(frozen=True, slots=True)
class DecisionBench:
    """Timings of "predictor" alone and of the whole "decision"."""

    num_calls: int
    parts: dict[str, Timing]


@dataclass(frozen=True, slots=True)
class StoppingBench:
    """Best of three seconds for a ladder of `num_stages`."""

    num_stages: int
    seconds: float


def _timing(run: Callable[[], object], num_calls: int) -> Timing:
    times = np.empty(num_calls)
    for i in range(num_calls):
        start_s = time.perf_counter()
        run()
        times[i] = time.perf_counter() - start_s
    return Timing(float(np.median(times)), float(np.quantile(times, 0.99)))


def bench_stopping() -> list[StoppingBench]:
    rng = np.random.default_rng(0)
    rows = []
    for size in _STOPPING_SIZES:
        p, cost = rng.random(size), rng.random(size)
        times = []
        for _ in range(3):
            start_s = time.perf_counter()
            optimal_stopping_rule(p, cost, 10.0)
            times.append(time.perf_counter() - start_s)
        rows.append(StoppingBench(size, min(times)))
    return rows
