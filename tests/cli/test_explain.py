"""A trace in words: one line a step, whatever the step was."""

from __future__ import annotations

from adaptive_sd.cli.explain import explain
from tests.test_cascade import LONG, cascade_of, engines_of


def test_an_abandoned_draft_has_a_line_and_no_quality() -> None:
    cascade = cascade_of((0, 1), 0, engines_of(LONG), {1: 32})
    first, second, third, *_ = explain(cascade.answer("a question"), cascade).splitlines()
    assert "draft   quality 0.10 -> escalate: the script" in first
    assert "abandon -> stop: going on would lose 0.5 more than abandoning it; the script" in second
    assert "quality" not in second and "+ 32 tokens" in second
    assert "recall" in third


def test_where_quality_is_agreement_it_is_called_that() -> None:
    cascade = cascade_of((0,), 0, engines_of(LONG))
    plain = explain(cascade.answer("a question"), cascade)
    cascade.judge.agreement_with = "large"
    told = explain(cascade.answer("a question"), cascade)
    assert "· agreement with large 0.10 ·" in told and "· quality" not in told
    assert "not the chance of being right" in told and "agreement" not in plain
