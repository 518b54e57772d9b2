"""The simulation against closed forms, and laws that hold on every path."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.offline.sizing.queues import Traffic, poisson, simulate, starts

NUM = 40_000
ROUNDING = 1e-8
"""Of seconds that begin at 40,000."""


def erlang_c(offered: float, servers: int) -> float:
    """Chance to wait in M/M/c (Erlang 1917)."""
    terms = [offered**n / math.factorial(n) for n in range(servers)]
    last = offered**servers / math.factorial(servers) * servers / (servers - offered)
    return last / (sum(terms) + last)


def exponential(mean: float, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).exponential(mean, size=(NUM, 1))


@pytest.mark.parametrize(("servers", "load"), [(1, 0.5), (1, 0.8), (3, 0.8), (20, 0.9)])
def test_waits_and_utilisation_are_those_of_m_m_c(servers: int, load: float) -> None:
    rate = servers * load
    flows = [
        simulate(poisson(exponential(1.0, 100 + seed), rate, NUM, seed=seed), [servers])
        for seed in range(8)
    ]
    waits = [flow.wait_s[0] for flow in flows]
    error = np.std(waits, ddof=1) / math.sqrt(len(waits))
    expected = erlang_c(rate, servers) / (servers - rate)
    assert abs(np.mean(waits) - expected) < 4 * error + 0.02 * expected
    assert np.mean([flow.utilisation[0] for flow in flows]) == pytest.approx(load, rel=0.02)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_waits_are_those_of_m_d_1(load: float) -> None:
    """Pollaczek and Khinchine: half of what exponential services wait."""
    flows = [simulate(poisson(np.ones((1, 1)), load, NUM, seed=seed), [1]) for seed in range(3)]
    waits = [flow.wait_s[0] for flow in flows]
    error = np.std(waits, ddof=1) / math.sqrt(len(waits))
    expected = load / (2 * (1 - load))
    assert abs(np.mean(waits) - expected) < 4 * error + 0.02 * expected


def test_the_latency_of_a_lone_server_has_its_known_quantile() -> None:
    """In M/M/1 it is exponential with mean 1 / (1 - load)."""
    flow = simulate(poisson(exponential(1.0), 0.6, NUM, seed=3), [1])
    expected = -math.log(0.05) / 0.4
    assert flow.p95_s == pytest.approx(expected, abs=max(4 * flow.p95_error_s, 0.05 * expected))


def two_stages(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    service_s = rng.exponential([0.5, 2.0], size=(1000, 2))
    service_s[rng.random(1000) < 0.6, 1] = np.nan
    service_s[rng.random(1000) < 0.2, 0] = np.nan
    return service_s[~np.isnan(service_s).all(axis=1)]


@pytest.mark.parametrize("seed", range(3))
def test_little_s_law_holds(seed: int) -> None:
    """What is in the system, counted over time, is rate times latency, counted over requests."""
    flow = simulate(poisson(two_stages(seed), 1.4, NUM, seed=seed), [1, 2])
    assert flow.in_system == pytest.approx(1.4 * flow.mean_s, rel=0.02)


times = st.lists(
    st.tuples(st.floats(0, 3), st.floats(0, 5)), min_size=1, max_size=30
)  # since the one before, service


@given(times, st.integers(1, 5))
def test_nobody_waits_longer_where_there_is_one_place_more(
    drawn: list[tuple[float, float]], count: int
) -> None:
    gaps, service_s = np.array(drawn).T
    ready_s = np.cumsum(gaps)
    fewer, more = (starts(ready_s, service_s, n) for n in (count, count + 1))
    assert (more <= fewer + 1e-9).all() and (more >= ready_s).all()


@given(times, st.integers(1, 4))
def test_places_are_never_taken_twice_and_never_idle_while_somebody_waits(
    drawn: list[tuple[float, float]], count: int
) -> None:
    gaps, service_s = np.array(drawn).T
    ready_s = np.cumsum(gaps)
    start_s = starts(ready_s, service_s, count)
    for n, begin in enumerate(start_s):
        earlier = (start_s[:n] <= begin) & (start_s[:n] + service_s[:n] > begin + 1e-9)
        assert earlier.sum() < count
        if begin > ready_s[n] + 1e-9:  # until just then all places were taken
            before = begin - 1e-9
            taken = (start_s[:n] < before) & (start_s[:n] + service_s[:n] > before - 1e-9)
            assert taken.sum() >= count


@pytest.mark.parametrize("stage", [0, 1])
def test_more_places_at_a_stage_make_no_ladder_slower(stage: int) -> None:
    """On the same traffic."""
    traffic = poisson(two_stages(7), 1.2, NUM, seed=7)
    found = []
    for extra in range(4):
        counts = [1, 2]
        counts[stage] += extra
        found.append(simulate(traffic, counts))
    for worse, better in pairwise(found):
        assert better.mean_s <= worse.mean_s + ROUNDING and better.p95_s <= worse.p95_s + ROUNDING


def test_without_waiting_an_answer_takes_what_its_stages_take() -> None:
    service_s = two_stages(5)[:40]
    traffic = Traffic(np.arange(40.0), service_s)
    flow = simulate(traffic, [40, 40])
    np.testing.assert_allclose(flow.latency_s, np.nansum(service_s, axis=1)[10:])
    assert not flow.wait_s.any()
