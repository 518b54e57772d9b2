"""What each claim tests, and which dial is certified for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive_sd.decision.claims import (
    Claim,
    FastEnough,
    KeptQuality,
    MeanCost,
    Trial,
    certify,
    is_kept,
    is_shown,
    num_needed,
    shown_in_turn,
)
from adaptive_sd.decision.guarantee import MeanTest

LEVEL = 0.05
CLAIMS: list[Claim] = [KeptQuality(0.9), MeanCost(2.0), FastEnough(5.0)]


def wild_trial(num_prompts: int, seed: int) -> Trial:
    """Four dials from always stage 0 to always stage 2; dearer ones are better."""
    rng = np.random.default_rng(seed)
    single = (rng.random((num_prompts, 3)) < [0.3, 0.6, 0.8]).astype(float)
    between = np.where(rng.random(num_prompts) < 0.5, single[:, 0], single[:, 2])
    cost = rng.lognormal(sigma=0.4, size=(num_prompts, 4)) * [1.0, 1.5, 2.5, 3.0]
    return Trial(
        quality=np.stack([single[:, 0], single[:, 1], between, single[:, 2]], axis=1),
        cost=np.minimum(cost, 20.0),
        latency_s=2 * cost,
        single=single,
        alone=(0, 1, None, 2),
        max_cost=20.0,
    )


def true_bound(claim: Claim, trial: Trial, dial: int) -> float:
    """The strictest that the trial's prompts keep."""
    if isinstance(claim, KeptQuality):
        return float(trial.quality[:, dial].mean() / trial.single.mean(axis=0).max())
    if isinstance(claim, MeanCost):
        return float(trial.cost[:, dial].mean())
    return float(np.quantile(trial.latency_s[:, dial], 0.95, method="inverted_cdf"))


@given(seed=st.integers(0, 1000), dial=st.integers(0, 3), claim=st.sampled_from(CLAIMS))
@settings(max_examples=60)
def test_a_claim_is_kept_where_its_number_says_so(seed: int, dial: int, claim: Claim) -> None:
    trial = wild_trial(50, seed)
    bound = true_bound(claim, trial, dial)
    kept, broken = (0.99 * bound, 1.01 * bound)
    if not isinstance(claim, KeptQuality):
        kept, broken = broken, kept
    assert is_kept(replace(claim, bound=kept), trial, dial)  # type: ignore[type-var]
    if not isinstance(claim, KeptQuality) or broken <= 1:
        assert not is_kept(replace(claim, bound=broken), trial, dial)  # type: ignore[type-var]


@given(seed=st.integers(0, 1000), share=st.floats(0.01, 1.0), budget=st.floats(0.1, 30))
def test_values_lie_within_what_a_test_takes_for_certain(
    seed: int, share: float, budget: float
) -> None:
    trial = wild_trial(30, seed)
    for claim in (KeptQuality(share), MeanCost(budget)):
        for dial in range(4):
            for test in claim.tests(trial, dial):
                assert isinstance(test, MeanTest)
                assert -test.least - 1e-12 <= test.values.min()
                assert test.values.max() <= test.most + 1e-12


@pytest.mark.parametrize("claim", CLAIMS)
def test_the_dial_certified_is_the_last_of_those_that_are_shown(claim: Claim) -> None:
    trial = wild_trial(2000, 3)
    shown = [is_shown(claim, trial, dial, LEVEL) for dial in range(4)]
    found = certify(claim, trial, LEVEL)
    assert any(shown) and not all(shown)
    if isinstance(claim, KeptQuality):
        assert shown == [False, False, False, True]
        assert found == (3, 2)
    else:
        assert found.last == shown.index(False) - 1 and found.ended_at == shown.index(False)
    assert found.last is not None and is_kept(claim, trial, found.last)


def test_what_a_stage_keeps_of_itself_takes_no_prompts() -> None:
    """Of two equal stages each has to show that it keeps enough of the other."""
    trial = wild_trial(3, 0)
    assert len(KeptQuality(1.0).tests(trial, 3)) == 2 and len(KeptQuality(1.0).tests(trial, 2)) == 3
    alone = replace(trial, single=trial.single[:, :1], alone=(0, None, None, None))
    assert is_shown(KeptQuality(1.0), alone, 0, LEVEL)
    assert num_needed(KeptQuality(1.0), alone, 0, LEVEL) == 1


def test_the_hardest_comparison_tells_what_is_needed() -> None:
    trial, claim = wild_trial(500, 1), KeptQuality(0.99)
    each = [test.num_needed(LEVEL) for test in claim.tests(trial, 3)]
    assert num_needed(claim, trial, 3, LEVEL) == max(n for n in each if n is not None)
    assert num_needed(claim, trial, 0, LEVEL) is None


def test_latencies_that_are_not_known_show_nothing() -> None:
    trial = wild_trial(500, 1)
    unknown = replace(trial, latency_s=np.full_like(trial.cost, np.nan))
    assert is_shown(FastEnough(1e6), trial, 0, LEVEL)
    assert not is_shown(FastEnough(1e6), unknown, 0, LEVEL)


def test_rows_may_come_in_any_order_and_more_than_once() -> None:
    trial, rows = wild_trial(5, 0), np.array([4, 4, 0])
    taken = trial.take(rows)
    assert taken.num_prompts == 3 and taken.alone == trial.alone
    np.testing.assert_array_equal(taken.latency_s, trial.latency_s[rows])
    np.testing.assert_array_equal(taken.single, trial.single[rows])
    whole = trial.take(rows[:1]).plus(trial.take(rows[1:]))
    for name in ("quality", "cost", "latency_s", "single"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(taken, name))


def test_claims_are_shown_in_turn_until_the_safest_dial_is_not_shown_to_keep_one() -> None:
    trial = wild_trial(2000, 3)
    claims = [KeptQuality(0.5), KeptQuality(0.95), KeptQuality(1.0)]
    harder = replace(trial, quality=0.9 * trial.quality, alone=(None,) * 4)
    assert shown_in_turn(claims, trial, LEVEL) == claims
    assert shown_in_turn(claims, harder, LEVEL) == claims[:1]
    assert shown_in_turn(claims[::-1], harder, LEVEL) == []
