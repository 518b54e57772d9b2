"""The least expected loss decides; chains and fixed stages do as their names say."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive_sd.decision.policies import (
    Choice,
    Evidence,
    FixedPolicy,
    HeldDraft,
    Prospect,
    StoppingPolicy,
    ThresholdPolicy,
    best_held,
    choose,
    reason_of,
)
from adaptive_sd.errors import ConfigError
from adaptive_sd.types import Decision

NAMES = ("tiny", "small", "large")
small_numbers = st.integers(0, 4).map(float)  # few values, so that ties happen


def evidence(*qualities: float, stages: tuple[int, ...] | None = None) -> Evidence:
    stages = tuple(range(len(qualities))) if stages is None else stages
    features = np.zeros(256, np.float32)
    held = tuple(HeldDraft(s, q, features) for s, q in zip(stages, qualities, strict=True))
    return Evidence(np.zeros(3, np.float32), held)


def going(*losses: tuple[int, float]) -> tuple[Prospect, ...]:
    return tuple(Prospect(stage, 0.5, 0.0, loss) for stage, loss in losses)


def run(policy: StoppingPolicy, qualities: tuple[float, ...], lam: float = 1.0) -> list[int]:
    """The stages that ran, then the one returned."""
    stages: tuple[int, ...] = ()
    while True:
        seen = evidence(*(qualities[s] for s in stages), stages=stages)
        choice = policy.decide(seen, lam)
        assert choice.qualities == tuple(qualities[s] for s in stages)
        if choice.decision is Decision.STOP:
            return [*stages, choice.stage]
        assert not stages or choice.stage > stages[-1]
        stages = (*stages, choice.stage)


@settings(max_examples=100, deadline=None)
@given(small_numbers, st.lists(small_numbers, max_size=4))
def test_the_least_loss_is_chosen_ties_stop_or_take_the_smaller_stage(
    value_stop: float, losses: list[float]
) -> None:
    prospects = (Prospect(None, 0.5, 0.0, value_stop), *going(*enumerate(losses, start=1)))
    choice = choose(evidence(0.5), (0.5,), 0, prospects)
    least = min([value_stop, *losses])
    if value_stop == least:
        assert (choice.decision, choice.stage) == (Decision.STOP, 0)
    else:
        assert choice.decision is Decision.ESCALATE
        assert choice.stage == next(p.stage for p in prospects[1:] if p.loss == least)
    assert choice.prospects == prospects and choice.denied is None


@given(st.lists(small_numbers, min_size=1, max_size=4))
def test_with_nothing_held_something_has_to_run(losses: list[float]) -> None:
    choice = choose(evidence(), (), None, going(*enumerate(losses)))
    assert (choice.decision, choice.stage) == (Decision.ESCALATE, losses.index(min(losses)))


def test_the_reason_names_the_losses_that_were_compared() -> None:
    stopping = Prospect(None, 0.5, 0.0, 0.75)
    begin = choose(evidence(), (), None, going((0, 1.5), (2, 2.25)))
    assert reason_of(begin, NAMES) == "expected loss of beginning with tiny 1.5, large 2.25"
    between = choose(evidence(0.5), (0.5,), 0, (stopping, *going((1, 1.5), (2, 0.25))))
    wanted = "expected loss of stopping 0.75, of going on to small 1.5, large 0.25"
    assert reason_of(between, NAMES) == wanted
    last = choose(evidence(0.5), (0.5,), 2, (stopping,))
    assert reason_of(last, NAMES) == "no larger stage is left"
    noted = Choice(Decision.STOP, 0, (0.5,), (stopping,), "because")
    assert reason_of(noted, NAMES) == "because"


@given(st.lists(st.integers(0, 3).map(lambda i: i / 3), min_size=1, max_size=5))
def test_the_best_held_is_the_latest_of_the_highest_quality(qualities: list[float]) -> None:
    best = best_held(evidence(*qualities))
    assert best.quality == max(qualities)
    assert best.stage == max(i for i, q in enumerate(qualities) if q == max(qualities))


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_a_fixed_policy_runs_and_returns_its_stage_alone(stage: int) -> None:
    assert run(FixedPolicy(stage), (0.9, 0.1, 0.5)) == [stage, stage]
    assert reason_of(FixedPolicy(stage).decide(evidence(), 1.0), NAMES) == "always this stage"


@pytest.mark.parametrize("stages", [(0,), (0, 2), (1, 2), (0, 1, 2)])
def test_a_chain_stops_at_the_first_draft_that_reaches_its_threshold(
    stages: tuple[int, ...],
) -> None:
    levels = (0.2, 0.5, 0.8)
    for qualities in itertools.product(levels, repeat=3):
        for thresholds in itertools.product(levels, repeat=len(stages) - 1):
            passed = [qualities[s] >= t for s, t in zip(stages, thresholds, strict=False)]
            stop = passed.index(True) if True in passed else len(stages) - 1
            policy = ThresholdPolicy(stages, thresholds)
            assert run(policy, qualities) == [*stages[: stop + 1], stages[stop]]


def test_a_chain_says_what_it_compared() -> None:
    policy = ThresholdPolicy((0, 2), (0.5,))
    first = policy.decide(evidence(), 1.0)
    assert reason_of(first, NAMES) == "first of the chain"
    second = policy.decide(evidence(0.25), 2.0)
    assert reason_of(second, NAMES) == "quality 0.25 against threshold 0.50"
    assert second.prospects == (Prospect(None, 0.25, 0.0, 1.5),)
    last = policy.decide(evidence(0.25, 0.5, stages=(0, 2)), 2.0)
    assert reason_of(last, NAMES) == "no larger stage is left"


@pytest.mark.parametrize("thresholds", [(), (0.5, 0.5)])
def test_a_chain_needs_a_threshold_for_each_stage_but_the_last(
    thresholds: tuple[float, ...],
) -> None:
    with pytest.raises(ConfigError, match="2 stages take 1 thresholds"):
        ThresholdPolicy((0, 1), thresholds)


@pytest.mark.parametrize("lam", [-1.0, np.nan, np.inf])
@pytest.mark.parametrize("policy", [FixedPolicy(0), ThresholdPolicy((0, 1), (0.5,))])
def test_a_lambda_that_is_no_weight_is_refused(policy: StoppingPolicy, lam: float) -> None:
    with pytest.raises(ConfigError, match="lambda is"):
        policy.decide(evidence(), lam)


@given(
    st.lists(small_numbers, min_size=1, max_size=4),
    st.booleans(),
    st.sets(st.integers(1, 4)),
)
def test_only_what_is_affordable_is_chosen_and_what_would_be_is_told(
    losses: list[float], holds: bool, affordable: set[int]
) -> None:
    seen = replace(evidence(*[0.5] * holds), affordable=frozenset(affordable))
    prospects = going(*enumerate(losses, start=1))
    if holds:
        prospects = (Prospect(None, 0.5, 0.0, 1.5), *prospects)
    if not holds and not affordable:
        return  # one always is: see Evidence
    plain = choose(replace(seen, affordable=None), (), 0 if holds else None, prospects)
    choice = choose(seen, (), 0 if holds else None, prospects)
    left = [p for p in prospects if p.stage is None or p.stage in affordable]
    if not left:
        assert choice.decision is Decision.ESCALATE
        assert choice.stage == seen.instead_of(plain.stage) and choice.denied == plain.stage
        return
    best = min(left, key=lambda p: p.loss)
    assert choice.decision is (Decision.STOP if best.stage is None else Decision.ESCALATE)
    assert choice.stage == (best.stage or 0)
    is_plain = (choice.decision, choice.stage) == (plain.decision, plain.stage)
    assert choice.denied == (None if is_plain else plain.stage)
    assert plain.denied is None


@pytest.mark.parametrize(
    ("affordable", "stage"),
    [({0}, 0), ({0, 1}, 1), ({1}, 1), ({0, 1, 2}, 2), ({0, 3}, 0), ({3, 4}, 3), ({2, 3}, 2)],
)
def test_a_fixed_policy_takes_the_largest_up_to_its_own_that_is_affordable(
    affordable: set[int], stage: int
) -> None:
    seen = replace(evidence(), affordable=frozenset(affordable))
    choice = FixedPolicy(2).decide(seen, 1.0)
    assert choice.stage == stage
    assert choice.denied == (None if 2 in affordable else 2)
    then = FixedPolicy(2).decide(evidence(0.5, stages=(choice.stage,)), 1.0)
    assert (then.decision, then.stage) == (Decision.STOP, choice.stage)
