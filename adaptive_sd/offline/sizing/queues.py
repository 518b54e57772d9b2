"""Requests wait for a free place at each stage of their way: simulated exactly, event by event.

Stages come in one order, so a stage can be simulated whole before the next one. Within it the n-th
to come begins when it has come and the first place is free (Kiefer and Wolfowitz, "On the theory of
queues with many servers", Trans. AMS 78, 1955): no calendar of events is needed.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_WARM_UP = 0.25
"""Share of the requests that begin with empty queues and are not measured."""
_NUM_BATCHES = 10


@dataclass(frozen=True, slots=True, eq=False)
class Traffic:
    """Requests in the order in which they come, and how long each is at each stage."""

    arrival_s: FloatArray  # (num_requests,), ascending
    service_s: FloatArray  # (num_requests, num_stages), nan where a stage does not run


@dataclass(frozen=True, slots=True, eq=False)
class Flow:
    """What became of the traffic, of those who came after the queues had filled.

    `utilisation` (num_stages,) is the share of time that a place is taken, `wait_s` and
    `wait_p95_s` (num_stages,) are of the requests that a stage served. `p95_error_s` is the
    standard error of `p95_s` over successive batches. `in_system` is the mean number of requests
    that have come and not gone.
    """

    latency_s: FloatArray  # (num_measured,)
    utilisation: FloatArray
    wait_s: FloatArray
    wait_p95_s: FloatArray
    in_system: float
    p95_error_s: float

    @property
    def mean_s(self) -> float:
        return float(self.latency_s.mean())

    @property
    def p50_s(self) -> float:
        return float(np.quantile(self.latency_s, 0.5))

    @property
    def p95_s(self) -> float:
        return float(np.quantile(self.latency_s, 0.95))


def poisson(service_s: FloatArray, rate: float, count: int, *, seed: int) -> Traffic:
    """`count` requests at `rate` a second, each one of the rows (num_ways, num_stages).

    The same seed draws the same rows, and the same arrivals in units of 1 / rate.
    """
    rng = np.random.default_rng(seed)
    arrival_s = np.cumsum(rng.exponential(size=count)) / rate
    return Traffic(arrival_s, service_s[rng.integers(len(service_s), size=count)])


def simulate(traffic: Traffic, num_places: Sequence[int]) -> Flow:
    """First come, first served, at each stage with so many places."""
    ready_s = traffic.arrival_s.copy()
    start_s = np.full(traffic.service_s.shape, np.nan)
    end_s, wait_s = start_s.copy(), start_s.copy()
    for stage, count in enumerate(num_places):
        rows = np.flatnonzero(~np.isnan(traffic.service_s[:, stage]))
        rows = rows[np.argsort(ready_s[rows], kind="stable")]
        service_s = traffic.service_s[rows, stage]
        start_s[rows, stage] = starts(ready_s[rows], service_s, count)
        wait_s[rows, stage] = start_s[rows, stage] - ready_s[rows]
        ready_s[rows] = end_s[rows, stage] = start_s[rows, stage] + service_s
    return _measure(traffic.arrival_s, ready_s, start_s, end_s, wait_s, num_places)


def starts(ready_s: FloatArray, service_s: FloatArray, num_places: int) -> FloatArray:
    """When each begins, where they come in this order."""
    free_s = [0.0] * num_places
    found = []
    for at_s, takes_s in zip(ready_s.tolist(), service_s.tolist(), strict=True):
        begin_s = max(at_s, free_s[0])
        heapq.heapreplace(free_s, begin_s + takes_s)
        found.append(begin_s)
    return np.array(found)


def _measure(
    arrival_s: FloatArray,
    gone_s: FloatArray,
    start_s: FloatArray,
    end_s: FloatArray,
    wait_s: FloatArray,
    num_places: Sequence[int],
) -> Flow:
    """Between the first arrival that is measured and the last one."""
    first = int(_WARM_UP * len(arrival_s))
    begin, end = arrival_s[first], arrival_s[-1]
    latency_s = (gone_s - arrival_s)[first:]
    batches = [np.quantile(part, 0.95) for part in np.array_split(latency_s, _NUM_BATCHES)]
    ran = wait_s[first:]
    served = [stage[~np.isnan(stage)] for stage in ran.T]
    busy = [_covered(s, e, begin, end) for s, e in zip(start_s.T, end_s.T, strict=True)]
    return Flow(
        latency_s=latency_s,
        utilisation=np.array([b / n if n else 0.0 for b, n in zip(busy, num_places, strict=True)]),
        wait_s=np.array([waits.mean() if len(waits) else 0.0 for waits in served]),
        wait_p95_s=np.array([np.quantile(w, 0.95) if len(w) else 0.0 for w in served]),
        in_system=_covered(arrival_s, gone_s, begin, end),
        p95_error_s=float(np.std(batches, ddof=1) / np.sqrt(_NUM_BATCHES)),
    )


def _covered(start_s: FloatArray, end_s: FloatArray, begin: float, end: float) -> float:
    """How many of these spans hold at a time, in the mean from begin to end."""
    inside = np.clip(end_s, begin, end) - np.clip(start_s, begin, end)
    return float(np.nansum(inside) / (end - begin))
