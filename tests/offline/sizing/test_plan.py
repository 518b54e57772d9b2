"""The smallest numbers of replicas: enough, and none could be spared."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from adaptive_sd.errors import ConfigError
from adaptive_sd.offline.sizing.demand import Demand
from adaptive_sd.offline.sizing.plan import Plan, foresee, make_plan
from adaptive_sd.offline.sizing.replica import Replica
from adaptive_sd.types import Rates

RATES = Rates(0.001, 0.01, ((2, 0.012), (4, 0.016), (8, 0.024)))


def demand(seed: int = 0) -> Demand:
    """Three stages; the second is skipped by most, the third by all."""
    rng = np.random.default_rng(seed)
    work_s = rng.exponential([0.2, 1.0, 5.0], size=(200, 3))
    work_s[rng.random(200) < 0.7, 1] = np.nan
    work_s[:, 2] = np.nan
    tokens_out = rng.integers(1, 20, size=(200, 3)).astype(float)
    return Demand(work_s, tokens_out, np.nansum(work_s, axis=1), "s", "a test")


def replicas(**options: object) -> list[Replica]:
    return [Replica(name, RATES, **options) for name in ("a", "b", "c")]  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [2.0, 20.0])
@pytest.mark.parametrize("slots", [1, 4])
def test_a_bound_on_utilisation_is_met_by_the_fewest(rate: float, slots: int) -> None:
    own = demand()
    plan = make_plan(own, replicas(slots=slots), rate, utilisation=0.7)
    offered = (
        rate
        * np.nansum(
            [
                r.service_s(w, t)
                for r, w, t in zip(
                    replicas(slots=slots), own.work_s.T, own.tokens_out.T, strict=True
                )
            ],
            axis=1,
        )
        / len(own.work_s)
    )
    for work, count in zip(offered, plan.counts, strict=True):
        assert work <= 0.7 * slots * count + 1e-9 and work > 0.7 * slots * (count - 1)
    assert plan.counts[2] == 0  # no prompt comes there
    assert plan.flow.utilisation == pytest.approx(
        [w / (slots * n) if n else 0 for w, n in zip(offered, plan.counts, strict=True)], abs=0.04
    )


@pytest.mark.parametrize("p95_s", [2.6, 3.0, 4.0])
def test_a_bound_on_latency_is_met_and_no_replica_could_be_spared(p95_s: float) -> None:
    own = demand()
    plan = make_plan(own, replicas(), 10.0, utilisation=0.95, p95_s=p95_s)
    assert plan.flow.p95_s <= p95_s
    least = make_plan(own, replicas(), 10.0, utilisation=0.95)
    assert plan.counts >= least.counts
    for stage, count in enumerate(plan.counts):
        if count > least.counts[stage]:
            fewer = tuple(n - (k == stage) for k, n in enumerate(plan.counts))
            assert foresee(own, replicas(), 10.0, fewer).flow.p95_s > p95_s


def test_a_latency_below_what_stages_take_is_refused_with_that() -> None:
    with pytest.raises(ConfigError, match="without any waiting"):
        make_plan(demand(), replicas(), 10.0, utilisation=0.9, p95_s=0.1)


@pytest.mark.parametrize("seed", range(6))
def test_any_latency_is_met_or_refused(seed: int) -> None:
    """With replicas without end nobody waits; what answers take then is the border."""
    own = demand(seed)
    border = foresee(own, replicas(), 2.0, (1000,) * 3, seed=seed).flow.p95_s
    plan = make_plan(own, replicas(), 2.0, utilisation=0.9, p95_s=border, seed=seed)
    assert plan.flow.p95_s == border
    with pytest.raises(ConfigError, match="without any waiting"):
        make_plan(own, replicas(), 2.0, utilisation=0.9, p95_s=np.nextafter(border, 0), seed=seed)


def test_a_larger_load_never_needs_fewer() -> None:
    found = [make_plan(demand(), replicas(), r, utilisation=0.7).counts for r in (1, 3, 10, 30)]
    assert found == sorted(found)
    assert all(a <= b for x, y in pairwise(found) for a, b in zip(x, y, strict=True))


def test_costs_are_those_of_the_tokens_and_of_the_replicas() -> None:
    own = demand()
    plan = make_plan(own, replicas(usd=2.0), 10.0, utilisation=0.7)
    assert plan.usd_per_hour == 2.0 * sum(plan.counts)
    assert plan.cost_per_hour == pytest.approx(36_000 * own.cost.mean())
    free = [replace(r, usd=None) if r.name == "c" else r for r in plan.replicas]
    assert replace(plan, replicas=tuple(free)).usd_per_hour == plan.usd_per_hour  # not needed
    none: Plan = replace(plan, replicas=tuple(replace(r, usd=None) for r in plan.replicas))
    assert none.usd_per_hour is None


WORK, TOKENS = np.array([0.5, 1.0]), np.array([20.0, 20.0])


def test_one_slot_takes_the_work_that_there_is() -> None:
    np.testing.assert_allclose(Replica("a", RATES).service_s(WORK, TOKENS), WORK)


def test_full_slots_together_do_as_much_as_shared_passes_save() -> None:
    """Of 4 slots: reading takes what it takes, a pass over 4 rows stands for 4 tokens."""
    service_s = Replica("a", RATES, slots=4).service_s(WORK, TOKENS)
    each = (WORK - TOKENS * RATES.decode_s) + TOKENS * RATES.pass_s(4) / 4
    np.testing.assert_allclose(service_s / 4, each)


def test_a_price_in_device_seconds_is_shared_out_whatever_the_slots() -> None:
    priced = Rates.linear(1e-5, 1e-4, "gpu_s")
    for slots, gpus in ((1, 1), (64, 1), (64, 4)):
        own = Replica("a", priced, slots, gpus, is_price=True)
        np.testing.assert_allclose(own.service_s(WORK, TOKENS) * gpus / slots, WORK)
    dollars = Replica("a", Rates.linear(1e-6, 1e-6, "usd"), 64, is_price=True)
    np.testing.assert_allclose(dollars.service_s(WORK, TOKENS), WORK)


@pytest.mark.parametrize("wrong", [{"slots": 0}, {"gpus": 0}, {"usd": -1.0}])
def test_a_replica_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Replica("a", RATES, **wrong)  # type: ignore[arg-type]
