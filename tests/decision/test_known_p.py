"""The textbook rule on estimated chances equals brute force over what could be done next."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive_sd.decision.calibration import sigmoid
from adaptive_sd.decision.known_p import KnownPPolicy, PooledPrior, fit_pooled_prior
from adaptive_sd.decision.policies import Evidence, HeldDraft
from adaptive_sd.errors import ConfigError
from adaptive_sd.types import Decision

SIZES, COSTS = (0.5, 1.5, 7.0), (1.0, 2.5, 9.0)
POLICY = KnownPPolicy(PooledPrior(), SIZES, COSTS)


def evidence(*held: tuple[int, float]) -> Evidence:
    features = np.zeros(256, np.float32)
    drafts = tuple(HeldDraft(stage, quality, features) for stage, quality in held)
    return Evidence(np.zeros(3, np.float32), drafts)


def chance(score: float) -> float:
    return 1 / (1 + math.exp(-score))


@settings(max_examples=100, deadline=None)
@given(
    st.floats(0, 100),
    st.lists(st.floats(0.01, 0.99), min_size=3, max_size=3),
    st.sampled_from([(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]),
)
def test_decide_equals_brute_force(
    lam: float, qualities: list[float], stages: tuple[int, ...]
) -> None:
    choice = POLICY.decide(evidence(*((s, qualities[s]) for s in stages)), lam)
    losses: dict[tuple[Decision, int], float] = {}
    if stages:
        best = max(stages, key=lambda s: (qualities[s], s))
        losses[Decision.STOP, best] = lam * (1 - qualities[best])
    for j in range(stages[-1] + 1 if stages else 0, 3):
        if stages:
            quality = qualities[stages[-1]]
            odds = math.log(quality / (1 - quality))
            p = chance(0.6 * odds + 0.6 * math.log(SIZES[j] / SIZES[stages[-1]]))
        else:
            p = chance(0.6 * math.log(SIZES[j]))
        losses[Decision.ESCALATE, j] = COSTS[j] + lam * (1 - p)
    assert losses[choice.decision, choice.stage] == pytest.approx(min(losses.values()), rel=1e-9)
    assert choice.qualities == tuple(qualities[s] for s in stages)
    stopping = [(Decision.STOP, best)] if stages else []
    compared = [
        *stopping,
        *((Decision.ESCALATE, p.stage) for p in choice.prospects[bool(stages) :]),
    ]
    assert set(compared) == losses.keys()
    for prospect, what in zip(choice.prospects, compared, strict=True):
        assert prospect.loss == pytest.approx(losses[what], rel=1e-9)
        assert prospect.cost + lam * (1 - prospect.quality) == pytest.approx(prospect.loss)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0.1, 3), min_size=2, max_size=5),
    st.lists(st.floats(0.1, 3), min_size=2, max_size=5),
)
def test_at_the_recommended_lambda_an_expected_draft_escalates_and_a_sure_one_does_not(
    growth: list[float], steps: list[float]
) -> None:
    count = min(len(growth), len(steps))
    sizes = tuple(np.exp(np.cumsum(growth[:count])).tolist())
    policy = KnownPPolicy(PooledPrior(), sizes, tuple(np.cumsum(steps[:count]).tolist()))
    lam, expected = policy.recommended_lam, PooledPrior().chance(sizes[0])
    if any(PooledPrior().chance_after(expected, sizes[0], s) > expected for s in sizes[1:]):
        assert policy.decide(evidence((0, expected)), lam).decision is Decision.ESCALATE
    assert policy.decide(evidence((0, 1.0)), lam).decision is Decision.STOP


def test_where_no_stage_is_better_the_recommended_lambda_still_is_a_number() -> None:
    for sizes, costs in (((1.0,), (3.0,)), ((2.0, 1.0), (3.0, 5.0))):
        policy = KnownPPolicy(PooledPrior(), sizes, costs)
        assert policy.recommended_lam == max(costs)
        assert policy.decide(evidence(), policy.recommended_lam).stage == 0


def test_lambda_0_runs_the_cheapest_and_no_more_and_a_large_one_the_best() -> None:
    assert POLICY.decide(evidence(), 0.0).stage == 0
    assert POLICY.decide(evidence((0, 0.01)), 0.0).decision is Decision.STOP
    assert POLICY.decide(evidence(), 1e6).stage == 2
    assert POLICY.decide(evidence((0, 0.01), (1, 0.02)), 1e6).stage == 2


@pytest.mark.parametrize(
    ("sizes", "costs"), [((), ()), ((1.0,), (1.0, 2.0)), ((0.0, 1.0), (1.0, 2.0))]
)
def test_what_is_no_ladder_is_refused(sizes: tuple[float, ...], costs: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="describe no ladder"):
        KnownPPolicy(PooledPrior(), sizes, costs)


@pytest.mark.parametrize("lam", [-1.0, np.nan, np.inf])
def test_a_lambda_that_is_no_weight_is_refused(lam: float) -> None:
    with pytest.raises(ConfigError, match="lambda is"):
        POLICY.decide(evidence(), lam)


def test_the_pooled_prior_is_found_again_in_what_it_brought_about() -> None:
    """Stage 0's estimates and stage 1's quality drawn from known weights."""
    rng = np.random.default_rng(0)
    sizes = (1.0, math.e**2)
    odds = rng.normal(scale=2.0, size=40_000)
    first = rng.random(len(odds)) < sigmoid(0.3)
    second = rng.random(len(odds)) < sigmoid(0.5 + 0.7 * odds + 0.25 * 2)
    estimates = np.stack([sigmoid(odds), np.full(len(odds), 0.5)], axis=1)
    prior = fit_pooled_prior(estimates, np.stack([first, second], axis=1).astype(float), sizes)
    assert prior.chance(1.0) == pytest.approx(first.mean(), abs=1e-3)
    assert prior.chance(sizes[1]) == pytest.approx(second.mean(), abs=1e-3)
    assert prior.slope == pytest.approx(0.7, abs=0.05)
    for quality in (0.1, 0.5, 0.9):
        wanted = sigmoid(0.5 + 0.7 * math.log(quality / (1 - quality)) + 0.25 * 2)
        assert prior.chance_after(quality, *sizes) == pytest.approx(float(wanted), abs=0.02)


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_a_pooled_prior_of_one_class_stays_finite(right: float) -> None:
    for num_stages in (1, 3):
        quality = np.full((30, num_stages), right)
        prior = fit_pooled_prior(quality, quality, tuple(4.0**k for k in range(num_stages)))
        assert abs(prior.chance(1.0) - right) < 0.2
        assert math.isfinite(prior.chance_after(0.5, 1.0, 4.0))


def test_a_pooled_prior_of_one_stage_keeps_the_default_for_the_next() -> None:
    prior = fit_pooled_prior(np.full((40, 1), 0.7), np.tile([[1.0], [0.0]], (20, 1)), (1.0,))
    assert prior.chance(1.0) == pytest.approx(0.5, abs=1e-6)
    default = PooledPrior()
    assert prior.chance_after(0.7, 1.0, 4.0) == default.chance_after(0.7, 1.0, 4.0)


@pytest.mark.parametrize("stages", [(), (0,), (1,), (0, 1), (2,)])
def test_drafts_are_expected_to_cost_what_the_rule_compares(stages: tuple[int, ...]) -> None:
    seen = evidence(*((s, 0.5) for s in stages))
    compared = {p.stage: p.cost for p in POLICY.decide(seen, 3.0).prospects if p.stage is not None}
    assert POLICY.draft_costs(seen) == compared
