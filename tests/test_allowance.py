"""Hard caps of one answer, and no answer rather than a bad one."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive_sd.artifact import Artifact
from adaptive_sd.cascade import Cascade, Request
from adaptive_sd.engines.fake import FakeEngine
from adaptive_sd.errors import CancelledError, ConfigError
from adaptive_sd.judge import FittedJudge
from adaptive_sd.ladder import Judge
from adaptive_sd.stage import Stage
from adaptive_sd.trace import Answer
from adaptive_sd.types import Action, Decision, Draft, Observer, Progress, Work
from tests.capped import OF_STAGE, Clock, Ladder, PricedJudge, cascade_of, is_cut_alone
from tests.ladder import RATES, make_engine, make_tasks
from tests.test_cascade import LONG, NAMES


def bare(answer: Answer) -> Answer:
    return replace(answer, trace_id="", latency_s=0.0)


costs = st.floats(0.001, 5)
three = st.lists(st.floats(0.01, 0.99), min_size=3, max_size=3).map(tuple)
ladders = st.builds(
    Ladder,
    lengths=st.tuples(*[st.integers(1, 150)] * 3),
    qualities=three,
    expected=st.tuples(*[costs] * 3),
    savings=st.just((0.0, 0.0, 0.0)),
)
lams = st.sampled_from([0.0, 1.0, 10.0, 100.0])
PROMPT = "one two three four five"


def first_step(ladder: Ladder) -> float:
    """The dearest that a fake engine does before it asks again: prompt, draft and one token."""
    longest = max(ladder.lengths)
    return max(r.prefill_s * 200 + r.pass_s(longest + 1) + r.decode_s for r in OF_STAGE)


@settings(max_examples=60, deadline=None)
@given(ladders, lams, st.floats(1e-4, 20))
def test_an_answer_never_costs_more_than_its_cap_and_one_step(
    ladder: Ladder, lam: float, cap: float
) -> None:
    answer = cascade_of(ladder).answer(PROMPT, Request(lam=lam, max_cost=cap))
    assert answer.cost <= cap + first_step(ladder)
    assert answer.cost == pytest.approx(sum(step.cost for step in answer.trace))
    assert answer.text is not None


@settings(max_examples=60, deadline=None)
@given(ladders, lams, st.floats(1e-4, 20), st.tuples(*[st.floats(0.001, 0.3)] * 3))
def test_an_answer_never_takes_longer_than_its_deadline_and_one_step(
    ladder: Ladder, lam: float, deadline_s: float, token_s: tuple[float, ...]
) -> None:
    cascade = cascade_of(ladder, Clock(), token_s)
    answer = cascade.answer(PROMPT, Request(lam=lam, deadline_s=deadline_s))
    assert answer.latency_s <= deadline_s + max(token_s) + 1e-9


@settings(max_examples=60, deadline=None)
@given(ladders, lams, st.floats(1e-4, 20), st.floats(1e-4, 20))
def test_an_answer_that_is_not_degraded_is_the_one_without_caps(
    ladder: Ladder, lam: float, cap: float, deadline_s: float
) -> None:
    token_s = (0.01, 0.02, 0.1)
    plain = cascade_of(ladder, Clock(), token_s).answer(PROMPT, Request(lam=lam))
    request = Request(lam=lam, max_cost=cap, deadline_s=deadline_s)
    capped = cascade_of(ladder, Clock(), token_s).answer(PROMPT, request)
    assert not plain.degraded
    if not capped.degraded:
        assert (capped.text, capped.stage, capped.cost) == (plain.text, plain.stage, plain.cost)
        assert [s.action for s in capped.trace] == [s.action for s in plain.trace]
        assert capped.calibrated == plain.calibrated
    far = cascade_of(ladder, Clock(), token_s).answer(
        PROMPT, replace(request, max_cost=1e9, deadline_s=1e9)
    )
    assert bare(far) == bare(plain)


def test_the_rule_chooses_among_what_fits_and_says_what_did_not() -> None:
    ladder = Ladder((3, 3, 3), (0.9, 0.95, 0.99), expected=(0.1, 0.2, 0.4))
    plain = cascade_of(ladder).answer(PROMPT, Request(lam=10.0))
    assert plain.stage == "large" and not plain.degraded
    capped = cascade_of(ladder).answer(PROMPT, Request(lam=10.0, max_cost=0.3))
    assert capped.stage == "middle" and capped.degraded and capped.text == "middle word1 word2"
    assert capped.degraded_by == "too little was left for large" and not capped.cut
    assert "large is denied: expected to cost 0.4, and 0.3 is left" in capped.opening.reason
    fits = {a.stage: a.fits for a in capped.opening.alternatives}
    assert fits == {"small": True, "middle": True, "large": False}


def test_where_nothing_fits_the_cheapest_is_begun_and_its_beginning_given() -> None:
    ladder = Ladder((150, 3, 3), (0.9, 0.95, 0.99), expected=(1.0, 2.0, 4.0))
    answer = cascade_of(ladder).answer(PROMPT, Request(lam=10.0, max_cost=0.2))
    assert answer.stage == "small" and answer.degraded and not answer.calibrated and answer.cut
    assert answer.degraded_by is not None and "small was cut at the cost" in answer.degraded_by
    (step,) = answer.trace
    assert step.action is Action.DRAFT and step.decision is Decision.STOP
    assert step.reason.startswith("cut at the cost that the answer may have, 0.2")
    assert answer.text == " ".join(["small", *(f"word{i}" for i in range(1, step.tokens_out))])
    assert 0.2 <= answer.cost == pytest.approx(cost_of_tokens(step.tokens_in, step.tokens_out))
    assert answer.quality == 0.9  # what the judge makes of it


def cost_of_tokens(tokens_in: int, tokens_out: int) -> float:
    return RATES["small"].draft_s(tokens_in, tokens_out)


def test_a_cut_draft_gives_way_to_one_that_is_held() -> None:
    ladder = Ladder((2, 150, 3), (0.3, 0.9, 0.99), expected=(0.01, 0.12, 9.0))
    request = Request(lam=0.6, max_cost=0.5)
    answer = cascade_of(ladder).answer(PROMPT, request)
    assert answer.text == "small word1" and answer.degraded and answer.calibrated
    assert not answer.cut and "middle was cut at the cost" in (answer.degraded_by or "")
    assert [s.action for s in answer.trace] == [Action.DRAFT, Action.VERIFY, Action.RECALL]
    cut = answer.trace[1]
    assert cut.reason.startswith("cut at the cost") and cut.quality is None
    assert answer.quality == 0.3


@pytest.mark.parametrize("request_", [Request(max_cost=1e-6), Request(deadline_s=1e-6)])
def test_where_not_even_a_token_fits_there_is_no_text_and_no_quality(request_: Request) -> None:
    class Reading(FakeEngine):
        """Asks before it reads."""

        def generate(self, *args: Any, observer: Observer, **rest: Any) -> Draft:
            if not observer(Progress("", 0, (), Work(4))):
                raise CancelledError("cancelled before its turn came.")
            raise AssertionError("it went on")

    stages = [Stage(name, load=lambda name=name: Reading(name, str)) for name in NAMES]  # type: ignore[misc]
    ladder = Ladder((1, 1, 1), (0.5, 0.5, 0.5), (1.0, 2.0, 3.0))
    answer = Cascade(stages, PricedJudge(ladder)).answer(PROMPT, request_)
    assert (answer.text, answer.quality, answer.degraded) == ("", 0.0, True)
    with pytest.raises(CancelledError):
        Cascade(stages, PricedJudge(ladder)).answer(PROMPT, keep_going=lambda: False)


@settings(max_examples=50, deadline=None)
@given(ladders, lams, st.floats(1e-4, 5), st.sampled_from([None, 0.0, 0.3, 0.6, 1.0]))
def test_a_stream_gives_the_text_of_a_capped_answer_and_none_of_one_that_is_not_given(
    ladder: Ladder, lam: float, cap: float, least: float | None
) -> None:
    request = Request(lam=lam, max_cost=cap, abstain_below=least)
    pieces: list[str] = []
    answer = cascade_of(ladder).answer(PROMPT, request, on_text=pieces.append)
    assert "".join(pieces) == (answer.text or "")
    is_beginning = any(is_cut_alone(step.reason) for step in answer.trace)
    assert answer.abstained == (least is not None and (is_beginning or answer.quality < least))
    assert (answer.text is None) == answer.abstained
    plain = cascade_of(ladder).answer(PROMPT, replace(request, abstain_below=None))
    assert (answer.stage, answer.quality, answer.cost) == (plain.stage, plain.quality, plain.cost)
    if answer.abstained:
        last = answer.trace[-1]
        assert (last.action, last.stage, last.quality) == (
            Action.ABSTAIN,
            answer.stage,
            answer.quality,
        )
        assert answer.trace[:-1] == tuple(s for s in plain.trace if s.action is not Action.RECALL)
    else:
        assert answer.trace == plain.trace


def test_text_that_was_held_back_for_a_stop_string_is_given_when_a_draft_is_cut() -> None:
    class HoldsBack(FakeEngine):
        """Tells each word one call late."""

        def generate(self, *args: Any, observer: Observer, **rest: Any) -> Draft:
            told = [""]

            def observe(seen: Progress) -> bool:
                late, told[0] = told[0], seen.new_text
                return observer(seen._replace(new_text=late))

            return super().generate(*args, observer=observe, **rest)

    engine = HoldsBack("large", lambda _: LONG, rates=RATES["large"])
    judge = PricedJudge(Ladder((1, 1, 1), (0.5, 0.5, 0.5), (9.0, 9.0, 0.1)))
    stages = [Stage(name, load=lambda: engine) for name in NAMES]
    cascade = Cascade(stages, judge)
    pieces: list[str] = []
    answer = cascade.answer(PROMPT, Request(max_cost=2.0), on_text=pieces.append)
    assert answer.degraded and len(pieces) > 5
    assert "".join(pieces) == answer.text and answer.text is not None and len(answer.text) > 20


@settings(max_examples=50, deadline=None)
@given(st.floats(0.01, 3), st.integers(0, 2))
def test_a_draft_is_abandoned_only_where_any_later_stage_could_take_over(
    cap: float, which: int
) -> None:
    savings = tuple(0.5 if k == which else 0.0 for k in range(3))
    ladder = Ladder((40, 40, 40), (0.2, 0.2, 0.9), (0.05, 0.1, 0.5), savings)
    answer = cascade_of(ladder).answer(PROMPT, Request(lam=0.3, max_cost=cap))
    plain = cascade_of(ladder).answer(PROMPT, Request(lam=0.3))
    for step in answer.trace:
        if step.action is Action.ABANDON:
            assert cap - step.cost > 0.5
    if not answer.degraded:
        assert [s.action for s in answer.trace] == [s.action for s in plain.trace]


@pytest.mark.parametrize("judged", ["covered", "not covered"])
def test_a_fitted_ladder_keeps_to_its_cap(artifact: Artifact, judged: str) -> None:
    judge: Judge = FittedJudge(artifact if judged == "covered" else replace(artifact, forms=()))
    stages = [Stage(name, load=lambda name=name: make_engine(name)) for name in RATES]  # type: ignore[misc]
    cascade = Cascade(stages, judge)
    degraded = set()
    unit = max(r.prefill_s * 400 + r.pass_s(9) + r.decode_s for r in OF_STAGE)
    for cap in (1e-3, 0.05, 0.2, 0.8, 3.0, 1e6):
        for task in make_tasks(4, seed=5):
            for lam in (0.0, artifact.recommended_lam, float(artifact.policy.lam_grid[-1])):
                plain = cascade.answer(task.prompt, Request(lam=lam))
                answer = cascade.answer(task.prompt, Request(lam=lam, max_cost=cap))
                assert answer.cost <= cap + unit
                degraded.add(answer.degraded)
                if not answer.degraded:
                    assert (answer.text, answer.cost) == (plain.text, plain.cost)
                for told in (answer.opening, *answer.trace):
                    for found in told.alternatives:
                        loss = found.cost + lam * (1 - found.quality)
                        assert found.loss == pytest.approx(loss)
    assert degraded == {True, False}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("max_cost", v) for v in (0.0, -1.0, math.nan, math.inf)),
        *(("deadline_s", v) for v in (0.0, -1.0, math.nan, math.inf)),
        *(("abstain_below", v) for v in (-0.1, 1.1, math.nan)),
    ],
)
def test_a_cap_that_means_nothing_is_refused(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{field} is"):
        Request(**{field: value})  # type: ignore[arg-type]
