"""Whatever fails, a ladder ends with what it can have: a failed stage may no longer run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive_sd.cascade import Request
from adaptive_sd.cli.explain import explain
from adaptive_sd.decision.guarded import GuardedPolicy
from adaptive_sd.decision.joined import JoinedPolicy
from adaptive_sd.decision.joining import CAUTION, learn
from adaptive_sd.decision.known_p import KnownPPolicy, PooledPrior
from adaptive_sd.decision.policies import Evidence, FixedPolicy
from adaptive_sd.errors import EndpointError
from adaptive_sd.trace import Answer
from adaptive_sd.types import Action, Work
from tests.capped import is_cut_alone
from tests.decision.tables import evidence_of, old_policy, wild_table
from tests.decision.test_guarded import INDUCED, guarded
from tests.failing import NUM_WORDS, RATES, PolicyJudge, cascade_of, engines_of

NUM_STAGES = 4
TABLE = wild_table(60, NUM_STAGES, seed=0).table
NOTHING = evidence_of(TABLE, 0, ())
OLD = old_policy(TABLE, 2).induced
NEWCOMER = learn(OLD, TABLE, 2, caution=CAUTION)
LAMS = [0.0, *INDUCED.lam_grid[1::6].tolist()]


class Always(FixedPolicy):
    """As a fitted judge on forms that it does not know: see FittedJudge.draft_costs."""

    def draft_costs(self, evidence: Evidence) -> dict[int, float]:
        return {} if evidence.held else {stage: 0.3 * 3.0**stage for stage in range(NUM_STAGES)}


def joined(runs: bool) -> JoinedPolicy:
    """The newcomer runs at all lambdas or at none."""
    return JoinedPolicy(OLD, replace(NEWCOMER, runs=np.full_like(NEWCOMER.runs, runs)))


POLICIES = st.one_of(
    st.integers(0, 99).map(guarded),  # stage 2 is not among its own
    st.booleans().map(joined),
    st.integers(0, NUM_STAGES - 1).map(Always),
    st.just(KnownPPolicy(PooledPrior(), (1.0, 2.0, 4.0, 8.0), (1.0, 3.0, 9.0, 27.0))),
)
LADDERS = st.builds(
    lambda policy, qualities, saves: PolicyJudge(policy, NOTHING, qualities, saves),
    POLICIES,
    st.lists(st.floats(0.01, 0.99), min_size=NUM_STAGES, max_size=NUM_STAGES),
    st.just(set()),
)
LAM = st.sampled_from(LAMS)
BROKEN = st.dictionaries(st.integers(0, NUM_STAGES - 1), st.sampled_from([0, 5, 33]))
FEW = settings(max_examples=100, deadline=None)


def name(stage: int) -> str:
    return f"stage{stage}"


def walk(
    judge: PolicyJudge, broken: dict[int, int], request: Request
) -> tuple[list[int], Answer | None]:
    """The stages that were asked, in order, and the answer; None: nothing could answer."""
    engines = engines_of(NUM_STAGES, broken)
    cascade = cascade_of(engines, judge)
    try:
        answer = cascade.answer("a question", request)
    except EndpointError:
        return [k for k, engine in enumerate(engines) for _ in engine.calls], None
    ran = [
        int(step.stage.removeprefix("stage"))
        for step in answer.trace
        if step.action in (Action.DRAFT, Action.VERIFY, Action.ABANDON)
        or step.reason.startswith("failed: ")
    ]
    assert sorted(ran) == [k for k, e in enumerate(engines) for _ in e.calls]
    assert answer.cost == pytest.approx(sum(step.cost for step in answer.trace))
    return ran, answer


@FEW
@given(LADDERS, BROKEN, LAM)
def test_an_answer_comes_of_a_stage_that_works_unless_all_have_failed(
    judge: PolicyJudge, broken: dict[int, int], lam: float
) -> None:
    asked, answer = walk(judge, broken, Request(lam=lam))
    assert len(asked) == len(set(asked))
    if len(broken) == NUM_STAGES:
        assert answer is None
    else:
        assert answer is not None and answer.stage_index in set(asked) - broken.keys()
        assert answer.text == " ".join([answer.stage] * NUM_WORDS)
        failed = [stage for stage in asked if stage in broken]
        assert answer.degraded == any(stage > answer.stage_index for stage in failed)
        for stage in failed:
            *_, told = (step for step in answer.trace if step.stage == name(stage))
            assert told.reason.startswith(f"failed: {name(stage)} broke; ")


@pytest.mark.parametrize("chain", range(9))
def test_a_stage_that_the_policy_never_runs_answers_where_all_others_have_failed(
    chain: int,
) -> None:
    judge = PolicyJudge(guarded(chain), NOTHING, (0.2, 0.2, 0.7, 0.2), set(range(NUM_STAGES)))
    for lam in LAMS:
        asked, answer = walk(judge, {0: 0, 1: 5, 3: 33}, Request(lam=lam))
        assert answer is not None and sorted(asked) == [0, 1, 2, 3] and asked[-1] == 2
        assert (answer.stage_index, answer.quality) == (2, 0.7)
        assert answer.text == " ".join([name(2)] * NUM_WORDS)


@FEW
@given(LADDERS, BROKEN, LAM)
def test_stages_that_were_not_asked_change_nothing_by_failing(
    judge: PolicyJudge, broken: dict[int, int], lam: float
) -> None:
    asked, answer = walk(judge, {}, Request(lam=lam))
    others = {stage: words for stage, words in broken.items() if stage not in asked}
    again, found = walk(judge, others, Request(lam=lam))
    assert answer is not None and found is not None
    assert again == asked and replace(found, trace_id="", latency_s=0) == replace(
        answer, trace_id="", latency_s=0
    )


@FEW
@given(LADDERS, LAM)
def test_of_compared_losses_the_least_of_a_working_stage_decides(
    judge: PolicyJudge, lam: float
) -> None:
    whole = walk(judge, {}, Request(lam=lam))[1]
    assert whole is not None
    ranked = sorted(whole.opening.alternatives, key=lambda found: found.loss)
    if len(ranked) < 2 or not isinstance(judge._policy, KnownPPolicy | JoinedPolicy):
        return  # a chain decides, or one stage always
    first, second, *_ = (found.stage for found in ranked)
    broken = int(str(first).removeprefix("stage"))
    asked, answer = walk(judge, {broken: 0}, Request(lam=lam))
    assert answer is not None and list(map(name, asked[:2])) == [first, second]
    failed = next(step for step in answer.trace if step.reason.startswith("failed: "))
    assert failed.reason.startswith(f"failed: {first} broke; expected loss of beginning with ")
    left = [found for found in whole.opening.alternatives if found.stage != first]
    assert list(failed.alternatives) == left


@FEW
@given(LADDERS, BROKEN, LAM, st.floats(1e-3, 20), st.sampled_from([None, 0.4]))
def test_caps_hold_where_stages_fail_and_what_is_not_degraded_is_as_without_them(
    judge: PolicyJudge, broken: dict[int, int], lam: float, cap: float, least: float | None
) -> None:
    request = Request(lam=lam, abstain_below=least)
    _, plain = walk(judge, broken, request)
    asked, capped = walk(judge, broken, replace(request, max_cost=cap))
    if len(broken) == NUM_STAGES and capped is None:
        assert plain is None and sorted(asked) == sorted(broken)
        return
    assert capped is not None
    step = 3.0 ** (NUM_STAGES - 1) * (RATES.pass_s(NUM_WORDS + 1) + RATES.draft_s(99, 1))
    assert capped.cost <= cap + step
    is_beginning = any(is_cut_alone(step.reason) for step in capped.trace)
    assert capped.abstained == (least is not None and (is_beginning or capped.quality < least))
    if plain is None:
        assert capped.degraded  # it was cut before it failed
    elif not capped.degraded:
        assert (capped.text, capped.stage, capped.cost) == (plain.text, plain.stage, plain.cost)
        assert [s.action for s in capped.trace] == [s.action for s in plain.trace]


def test_what_came_before_the_failure_is_paid() -> None:
    judge = PolicyJudge(Always(3), NOTHING, (0.5,) * NUM_STAGES, set())
    for num_words, work in ((0, Work()), (5, Work(2, {1: 5}))):
        _, answer = walk(judge, {3: num_words}, Request())
        assert answer is not None and answer.stage_index == 2
        *_, failed, answered = answer.trace
        assert failed.reason.startswith("failed: stage3 broke") and failed.cost == judge.cost(
            3, work
        )
        assert answer.cost == failed.cost + answered.cost


def test_what_came_before_the_failure_counts_against_the_cap() -> None:
    judge = PolicyJudge(Always(3), NOTHING, (0.5,) * NUM_STAGES, set())
    lost = judge.cost(3, Work(2, {1: 30}))
    _, answer = walk(judge, {3: 30}, Request(max_cost=lost + 0.1))
    assert answer is not None and answer.stage_index == 0  # where nothing fits, the cheapest
    assert lost + 0.1 <= answer.cost <= lost + 0.1 + RATES.decode_s
    assert answer.trace[-1].reason.startswith("cut at the cost")


def test_an_abandoned_draft_runs_again_where_nothing_else_is_left() -> None:
    policy = GuardedPolicy(INDUCED, (None,) * len(INDUCED.lam_grid))
    stages = set(range(NUM_STAGES))
    judge = PolicyJudge(policy, NOTHING, (0.5,) * NUM_STAGES, stages)
    asked, answer = walk(judge, dict.fromkeys(stages - {0}, 0), Request(lam=0.0))
    assert answer is not None and policy.decide(NOTHING, 0.0).stage == 0
    assert asked == [0, *asked[1:-1], 0] and {1, 3} <= set(asked[1:-1])
    assert [step.action for step in answer.trace if step.stage == name(0)] == [
        Action.ABANDON,
        Action.VERIFY,
    ]
    assert answer.stage_index == 0 and answer.degraded


def test_a_stage_is_shown_while_it_grows_once_all_larger_ones_have_failed() -> None:
    judge = PolicyJudge(Always(3), NOTHING, (0.5,) * NUM_STAGES, set())
    pieces: list[str] = []
    cascade = cascade_of(engines_of(NUM_STAGES, {3: 0}), judge)
    answer = cascade.answer("a question", on_text=pieces.append)
    assert answer.stage_index == 2 and "".join(pieces) == answer.text
    assert len(pieces) == NUM_WORDS
    shown: list[str] = []
    cascade = cascade_of(engines_of(NUM_STAGES, {3: 0, 2: 5}), judge)
    with pytest.raises(EndpointError, match="stage2 broke"):
        cascade.answer("a question", on_text=shown.append)
    assert "".join(shown) == " ".join([name(2)] * 5)


def test_the_trace_in_words_says_once_what_failed() -> None:
    judge = PolicyJudge(Always(3), NOTHING, (0.5,) * NUM_STAGES, set())
    cascade = cascade_of(engines_of(NUM_STAGES, {3: 5}), judge)
    lines = explain(cascade.answer("a question"), cascade).splitlines()
    assert [line.split() for line in lines[1:4]] == [[name(k), "skip"] for k in range(3)]
    assert lines[4].split()[:4] == [name(3), "skip", "failed:", name(3)]
    assert "always this stage (cost " in lines[4]
    assert lines[5].split()[:2] == [name(2), "draft"]
    assert ", degraded" in lines[-1]
