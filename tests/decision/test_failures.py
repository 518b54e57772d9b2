"""Whatever fails, a ladder ends with what it can have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.decision.failures import Failures
from adaptive_sd.decision.known_p import KnownPPolicy, PooledPrior
from adaptive_sd.decision.policies import (
    Evidence,
    FixedPolicy,
    HeldDraft,
    StoppingPolicy,
    ThresholdPolicy,
)
from adaptive_sd.types import Decision

NUM_STAGES = 4
NOTHING = Evidence(np.zeros(1, np.float32))
COSTS = (1.0, 3.0, 9.0, 27.0)
POLICIES = st.one_of(
    st.builds(FixedPolicy, st.integers(0, NUM_STAGES - 1)),
    st.sets(st.integers(0, NUM_STAGES - 1), min_size=1).map(
        lambda s: ThresholdPolicy(tuple(sorted(s)), (0.7,) * (len(s) - 1))
    ),
    st.just(KnownPPolicy(PooledPrior(), (1.0, 2.0, 4.0, 8.0), COSTS)),
)


def walk(
    policy: StoppingPolicy, broken: set[int], qualities: list[float], lam: float
) -> tuple[list[int], int | None]:
    """The stages that ran or failed, in order, and the one returned; None: nothing could answer."""
    failures = Failures(lambda seen: policy.decide(seen, lam), NUM_STAGES)
    evidence, asked = NOTHING, []
    choice = failures.decide(evidence)
    while choice is not None and choice.decision is Decision.ESCALATE:
        asked.append(choice.stage)
        if choice.stage in broken:
            choice = failures.without(choice.stage, evidence)
            continue
        held = HeldDraft(choice.stage, qualities[choice.stage], np.zeros(1, np.float32))
        evidence = replace(evidence, held=(*evidence.held, held))
        choice = failures.decide(evidence)
    return asked, None if choice is None else choice.stage


WALKS = (
    POLICIES,
    st.sets(st.integers(0, NUM_STAGES - 1)),
    st.lists(st.floats(0, 1), min_size=NUM_STAGES, max_size=NUM_STAGES),
    st.sampled_from([0.0, 1.0, 30.0, 1000.0]),
)


@given(*WALKS)
def test_an_answer_comes_of_a_stage_that_works_unless_all_have_failed(
    policy: StoppingPolicy, broken: set[int], qualities: list[float], lam: float
) -> None:
    asked, returned = walk(policy, broken, qualities, lam)
    assert len(asked) == len(set(asked))
    if broken == set(range(NUM_STAGES)):
        assert returned is None
    else:
        assert returned in set(asked) - broken


@given(*WALKS)
def test_stages_that_were_not_asked_change_nothing_by_failing(
    policy: StoppingPolicy, broken: set[int], qualities: list[float], lam: float
) -> None:
    asked, returned = walk(policy, set(), qualities, lam)
    assert walk(policy, broken - set(asked), qualities, lam) == (asked, returned)


@given(st.lists(st.floats(0, 1), min_size=4, max_size=4), st.sampled_from([1.0, 30.0, 1000.0]))
def test_of_compared_losses_the_least_of_a_working_stage_decides(
    qualities: list[float], lam: float
) -> None:
    policy = KnownPPolicy(PooledPrior(), (1.0, 2.0, 4.0, 8.0), COSTS)
    first = policy.decide(NOTHING, lam)
    ranked = sorted(first.values_go, key=lambda pair: pair[1])
    asked, _ = walk(policy, {ranked[0][0]}, qualities, lam)
    assert asked[:2] == [ranked[0][0], ranked[1][0]]
