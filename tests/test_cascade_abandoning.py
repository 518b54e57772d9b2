"""The loop where drafts are abandoned."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from adaptive_sd.cascade import Request
from adaptive_sd.errors import CancelledError
from adaptive_sd.types import Action, Decision, Draft
from tests.test_cascade import LONG, cascade_of, engines_of


def test_an_abandoned_draft_is_offered_as_far_as_it_came_and_never_returned() -> None:
    engines = engines_of(LONG)
    answer = cascade_of((0, 1, 2), 2, engines, {0: 16, 1: 32}).answer("a question")
    assert answer.text == LONG.format("large")
    offers = [engine.calls[0][2] for engine in engines]
    assert offers[0] is None
    for offer, num_tokens in zip(offers[1:], (16, 32), strict=True):
        assert offer is not None and not offer.ended
        assert offer.text == " ".join(LONG.split(" ")[:num_tokens])
        assert len(offer.token_ends) == len(offer.token_logprobs) == num_tokens
        assert offer.token_ends[-1] == len(offer.text)
    first, second, last = answer.trace
    assert [s.action for s in answer.trace] == [Action.ABANDON, Action.ABANDON, Action.VERIFY]
    assert (first.tokens_out, second.tokens_out) == (16, 32)
    assert first.quality is None and first.decision is Decision.ESCALATE
    assert first.reason == "going on would lose 0.5 more than abandoning it; the script"
    assert answer.cost == 111.0 and last.decision is Decision.STOP


def test_after_an_abandoned_draft_an_earlier_one_may_be_returned() -> None:
    answer = cascade_of((0, 1), 0, engines_of(LONG), {1: 64}).answer("a question")
    assert answer.text == LONG.format("small") and answer.stage == "small"
    steps = [(s.stage, s.action, s.decision) for s in answer.trace]
    assert steps == [
        ("small", Action.DRAFT, Decision.ESCALATE),
        ("middle", Action.ABANDON, Decision.STOP),
        ("small", Action.RECALL, None),
    ]


def test_the_judge_is_asked_at_the_checkpoints_of_drafts_that_are_not_the_only_way() -> None:
    cascade = cascade_of((0, 2), 2, engines_of(LONG))
    cascade.answer("a question")
    assert cascade.judge.asked == [(k, n) for k in (0, 2) for n in (16, 32, 64)]  # type: ignore[attr-defined]
    only = cascade_of((2,), 2, engines_of(LONG), {2: 16})
    assert only.answer("a question").text == LONG.format("large")
    assert not only.judge.asked  # type: ignore[attr-defined]
    after = cascade_of((0, 2), 2, engines_of(LONG), {0: 16, 2: 16})
    assert after.answer("a question").text == LONG.format("large")
    assert after.judge.asked == [(0, 16)]  # type: ignore[attr-defined]


@pytest.mark.parametrize("abandons", [{0: 16}, {0: 16, 1: 64}, {1: 32}])
def test_a_stream_gives_no_text_of_an_abandoned_draft(abandons: dict[int, int]) -> None:
    with cascade_of((0, 1, 2), 2, engines_of(LONG), abandons).stream("a question") as stream:
        pieces = list(stream)
    assert "".join(pieces) == LONG.format("large")
    assert (len(pieces) > 1) == (len(abandons) == 2)  # nothing is held: the last one is certain


def test_a_draft_that_ends_at_a_checkpoint_is_whole() -> None:
    """The token limit ends it before anybody can."""
    engines = engines_of(LONG)
    request = Request(max_tokens=16)

    def limited(*args: Any, **rest: Any) -> Draft:
        return replace(generate(*args, **rest), finish_reason="length")

    generate, engines[0].generate = engines[0].generate, limited  # type: ignore[method-assign]
    answer = cascade_of((0, 1), 0, engines, {0: 16}).answer("a question", request)
    assert answer.trace[0].action is Action.DRAFT and answer.stage == "small"


def test_a_reader_that_leaves_while_drafts_are_abandoned_ends_the_work() -> None:
    engines = engines_of(LONG)
    counts = iter(range(20))
    with pytest.raises(CancelledError):
        cascade_of((0, 1, 2), 2, engines, {0: 16}).answer(
            "a question", keep_going=lambda: next(counts) < 18
        )
    assert [len(engine.calls) for engine in engines] == [1, 1, 0]
