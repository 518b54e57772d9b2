"""What an observer sees of an answer, and how it ends one."""

from __future__ import annotations

import pytest

from adaptive_sd.engines.base import Engine
from adaptive_sd.errors import CancelledError
from adaptive_sd.types import Draft, Progress
from tests.conformance.laws import Watcher, answer, assert_begins, assert_same, law
from tests.conformance.subject import Capability, Subject


@law(Capability.STREAMING)
def test_the_pieces_of_an_answer_are_its_text(subject: Subject, engine: Engine) -> None:
    for prompt in subject.prompts:
        watcher = Watcher()
        draft = answer(engine, subject, prompt, observer=watcher)
        assert "".join(watcher.pieces) == draft.text
        assert len(watcher.pieces) > 1 or draft.tokens_out < 4
        assert_same(subject, answer(engine, subject, prompt), draft)


@law(Capability.STREAMING)
def test_tokens_are_counted_while_they_come(subject: Subject, engine: Engine) -> None:
    watcher = Watcher()
    draft = answer(engine, subject, subject.prompts[0], observer=watcher)
    counts = [progress.num_tokens for progress in watcher.seen]
    assert counts == sorted(counts) and draft.tokens_out <= counts[-1] <= draft.num_chosen
    told = [progress.token_logprobs for progress in watcher.seen]
    if subject.can(Capability.LOGPROBS):
        assert [len(each) for each in told] == counts
        assert told[-1][: draft.tokens_out] == draft.token_logprobs
    else:
        assert not any(told)


@law(Capability.CANCELLING)
@pytest.mark.parametrize("most", [0, 1, 4])
def test_a_cancelled_answer_is_a_beginning_and_harms_no_other(
    subject: Subject, engine: Engine, most: int
) -> None:
    for prompt in subject.prompts:
        whole = answer(engine, subject, prompt)
        watcher = Watcher(most)
        try:
            cut: Draft | None = answer(engine, subject, prompt, observer=watcher)
        except CancelledError:
            assert most == 0  # before its turn came
            cut = None
        if cut is not None:
            assert cut.finish_reason == "cancelled" or whole.tokens_out <= most
            assert "".join(watcher.pieces) == cut.text
            assert_begins(subject, cut, whole)
        assert_same(subject, whole, answer(engine, subject, prompt))


@law(Capability.CANCELLING)
def test_what_an_observer_raises_is_raised_and_harms_no_other(
    subject: Subject, engine: Engine
) -> None:
    def fail(progress: Progress) -> bool:
        raise ValueError("mine")

    whole = answer(engine, subject, subject.prompts[0])
    with pytest.raises(ValueError, match="mine"):
        answer(engine, subject, subject.prompts[0], observer=fail)
    assert_same(subject, whole, answer(engine, subject, subject.prompts[0]))
