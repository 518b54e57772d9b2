"""A trace in words: one line a step, whatever the step was."""

from __future__ import annotations

from adaptive_sd.cascade import Request
from adaptive_sd.cli.explain import explain
from tests.capped import Ladder
from tests.capped import cascade_of as capped
from tests.test_cascade import LONG, NAMES, cascade_of, engines_of


def test_an_abandoned_draft_has_a_line_and_no_quality() -> None:
    cascade = cascade_of((0, 1), 0, engines_of(LONG), {1: 32})
    _, first, second, third, *_ = explain(cascade.answer("a question"), cascade).splitlines()
    assert "draft   quality 0.10 -> escalate: the script" in first
    assert "abandon -> stop: going on would lose 0.5 more than abandoning it; the script" in second
    assert "quality" not in second and "+ 32 tokens" in second
    assert "recall" in third


def test_each_decision_shows_what_it_compared_and_a_skip_does_not_repeat_it() -> None:
    ladder = Ladder((3, 3, 3), (0.9, 0.95, 0.99), expected=(0.1, 0.2, 0.4))
    cascade = capped(ladder)
    answer = cascade.answer("a question", Request(lam=10.0, max_cost=0.3))
    lines = explain(answer, cascade).splitlines()
    opening, *rest = lines
    assert opening.startswith("  before any draft") and "large is denied" in opening
    compared, (skipped, drafted, stopped, *_) = rest[:3], rest[3:]
    assert [line.split()[:2] for line in compared] == [["run", n] for n in NAMES]
    assert compared[-1].endswith("least, does not fit what is left")
    assert skipped.split() == ["small", "skip"]
    assert "middle" in drafted and "cost 0." in drafted
    assert stopped.split()[:3] == ["stop", "quality", "0.95"]


def test_the_gain_is_over_stopping() -> None:
    ladder = Ladder((3, 3, 3), (0.3, 0.95, 0.99), expected=(0.01, 1.4, 1.6))
    answer = capped(ladder).answer("a question", Request(lam=3.0))
    stopping, *going = answer.trace[0].alternatives
    assert stopping.stage is None and stopping.gain == 0 and going
    for found in going:
        assert found.gain == found.quality - stopping.quality
    assert all(found.gain is None for found in answer.opening.alternatives)


def test_where_quality_is_agreement_it_is_called_that() -> None:
    cascade = cascade_of((0,), 0, engines_of(LONG))
    plain = explain(cascade.answer("a question"), cascade)
    cascade.judge.agreement_with = "large"
    told = explain(cascade.answer("a question"), cascade)
    assert "· agreement with large 0.10 ·" in told and "· quality" not in told
    assert "not the chance of being right" in told and "agreement" not in plain
