"""The smallest numbers of replicas with which a load is served as wanted, and what they give."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.errors import ConfigError
from adaptive_sd.offline.sizing.demand import Demand
from adaptive_sd.offline.sizing.queues import Flow, Traffic, poisson, simulate
from adaptive_sd.offline.sizing.replica import Replica

_LEAST_REQUESTS = 20_000
_SERVICES = 15
"""So many times the work of a request lasts the traffic that is simulated, at least."""
_STEP = 1.25

Counts = tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """`counts` replicas of each stage serve `rate` requests a second of this demand as in `flow`.

    `service_s` (num_stages,) is the mean over requests that a stage serves, 0 where none.
    """

    rate: float
    demand: Demand
    replicas: tuple[Replica, ...]
    counts: Counts
    service_s: NDArray[np.float64]
    flow: Flow
    num_requests: int

    @property
    def cost_per_hour(self) -> float:
        """Of the tokens, in the ladder's unit."""
        return float(self.demand.cost.mean()) * self.rate * 3600

    @property
    def usd_per_hour(self) -> float | None:
        """Of the replicas, where all that are needed have a price."""
        paid = [(n, r.usd) for n, r in zip(self.counts, self.replicas, strict=True) if n]
        if any(usd is None for _, usd in paid):
            return None
        return sum(count * (usd or 0.0) for count, usd in paid)

    def to_json(self) -> dict[str, object]:
        """Fields are only ever added."""
        flow, shares = self.flow, self.demand.runs.mean(axis=0)
        stages = [
            {
                "name": replica.name,
                "share": float(shares[k]),
                "service_s": float(self.service_s[k]),
                "slots": replica.slots,
                "replicas": self.counts[k],
                "utilisation": float(flow.utilisation[k]),
                "wait_s": float(flow.wait_s[k]),
                "wait_p95_s": float(flow.wait_p95_s[k]),
            }
            for k, replica in enumerate(self.replicas)
        ]
        return {
            "rps": self.rate,
            "source": self.demand.source,
            "escalation_rate": self.demand.escalation_rate,
            "stages": stages,
            "latency_s": flow.mean_s,
            "latency_p50_s": flow.p50_s,
            "latency_p95_s": flow.p95_s,
            "latency_p95_error_s": flow.p95_error_s,
            "in_system": flow.in_system,
            "cost_unit": self.demand.unit,
            "cost_per_request": float(self.demand.cost.mean()),
            "cost_per_hour": self.cost_per_hour,
            "usd_per_hour": self.usd_per_hour,
            "num_requests": self.num_requests,
        }


def make_plan(
    demand: Demand,
    replicas: Sequence[Replica],
    rate: float,
    *,
    utilisation: float,
    p95_s: float | None = None,
    seed: int = 0,
) -> Plan:
    """The smallest: of no stage could one replica be spared.

    No stage is busier than `utilisation` in the mean (below 1), and 95 % of the answers come within
    `p95_s`, as far as the simulation tells. Raises ConfigError where no number of replicas does it.
    """
    traffic, service_s = _traffic(demand, replicas, rate, seed)
    offered = rate * np.nansum(service_s, axis=0) / len(service_s)
    least = tuple(
        math.ceil(work / (replica.slots * utilisation) - 1e-9)
        for work, replica in zip(offered.tolist(), replicas, strict=True)
    )
    counts = least
    if p95_s is not None:
        counts = _within(traffic, replicas, least, p95_s)
    return _planned(demand, replicas, rate, counts, traffic, service_s)


def foresee(
    demand: Demand, replicas: Sequence[Replica], rate: float, counts: Counts, *, seed: int = 0
) -> Plan:
    """What so many replicas give."""
    traffic, service_s = _traffic(demand, replicas, rate, seed)
    return _planned(demand, replicas, rate, counts, traffic, service_s)


def _traffic(
    demand: Demand, replicas: Sequence[Replica], rate: float, seed: int
) -> tuple[Traffic, NDArray[np.float64]]:
    columns = zip(demand.work_s.T, demand.tokens_out.T, replicas, strict=True)
    service_s = np.column_stack([r.service_s(work, tokens) for work, tokens, r in columns])
    lasting = float(np.nansum(service_s, axis=1).mean())
    count = max(_LEAST_REQUESTS, math.ceil(_SERVICES * lasting * rate))
    return poisson(service_s, rate, count, seed=seed), service_s


def _planned(
    demand: Demand,
    replicas: Sequence[Replica],
    rate: float,
    counts: Counts,
    traffic: Traffic,
    service_s: NDArray[np.float64],
) -> Plan:
    served = demand.runs.sum(axis=0)
    means = np.divide(
        np.nansum(service_s, axis=0), served, out=np.zeros(len(served)), where=served > 0
    )
    flow = simulate(traffic, _places(replicas, counts))
    count = len(traffic.arrival_s)
    return Plan(rate, demand, tuple(replicas), counts, means, flow, count)


def _places(replicas: Sequence[Replica], counts: Counts) -> Counts:
    return tuple(count * replica.slots for count, replica in zip(counts, replicas, strict=True))


def _within(traffic: Traffic, replicas: Sequence[Replica], least: Counts, p95_s: float) -> Counts:
    """From `least` on all together up, then each as far down again as it goes, the last first."""

    def is_enough(counts: Counts) -> bool:
        return simulate(traffic, _places(replicas, counts)).p95_s <= p95_s

    own_places = (len(traffic.arrival_s),) * len(least)
    unhurried = simulate(traffic, own_places).p95_s  # of those that is_enough measures
    if unhurried > p95_s:
        raise ConfigError(
            f"--p95 {p95_s:g}: answers take {unhurried:.3g} s without any waiting; give more than "
            "that, faster stages or a smaller lambda."
        )
    counts = least
    while not is_enough(counts):
        counts = tuple(math.ceil(count * _STEP) for count in counts)
    for stage in reversed(range(len(counts))):
        before, after = counts[:stage], counts[stage + 1 :]
        spared = partial(_is_enough_of, is_enough, before, after)
        counts = (*before, _smallest(least[stage], counts[stage], spared), *after)
    return counts


def _is_enough_of(
    is_enough: Callable[[Counts], bool], before: Counts, after: Counts, count: int
) -> bool:
    return is_enough((*before, count, *after))


def _smallest(low: int, high: int, is_enough: Callable[[int], bool]) -> int:
    """The smallest number from low on that is; `high` is."""
    while low < high:
        middle = (low + high) // 2
        if is_enough(middle):
            high = middle
        else:
            low = middle + 1
    return high
