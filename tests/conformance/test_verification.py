"""Drafts: never another answer than the engine's own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.engines.alignment import DraftTokens
from adaptive_sd.engines.base import Engine
from adaptive_sd.types import Draft, Offer, Verified
from tests.conformance.laws import (
    Watcher,
    answer,
    assert_mostly_same,
    assert_same,
    examples,
    lacking,
    law,
)
from tests.conformance.subject import Capability, Subject

FOREIGN = "Sure! Here's 漢字 — «наконец», isn't it? 🙂\n```python\nprint(1)\n```\n"


def check_verified(subject: Subject, plain: Draft, verified: Draft) -> None:
    assert_same(subject, plain, verified)
    counts = verified.verified
    assert counts.num_accepted <= counts.num_drafted
    assert counts.num_accepted <= counts.num_chosen <= counts.num_accepted + counts.num_spans
    assert sum(counts.span_rows) == counts.num_drafted + counts.num_spans


@law(Capability.VERIFICATION)
def test_any_draft_gives_the_plain_answer(subject: Subject, engine: Engine) -> None:
    """Random text, and the answer itself cut, with something put in, or something taken out."""

    @examples(subject)
    @given(
        st.sampled_from(subject.prompts),
        st.integers(0, 150),
        st.text(max_size=30) | st.sampled_from([FOREIGN, " otherwise"]),
        st.integers(0, 150),
        st.booleans(),
    )
    def check(prompt: str, kept: int, noise: str, left_out: int, ended: bool) -> None:
        plain = answer(engine, subject, prompt)
        text = plain.text[:kept] + noise + plain.text[kept + left_out :]
        offer = Offer(text.encode(errors="replace").decode(), ended=ended)
        check_verified(subject, plain, answer(engine, subject, prompt, offer=offer))

    check()


@law(Capability.VERIFICATION)
def test_a_draft_of_its_own_is_accepted(subject: Subject, engine: Engine) -> None:
    num_accepted = num_chosen = 0
    for prompt in subject.prompts:
        plain = answer(engine, subject, prompt)
        verified = answer(engine, subject, prompt, offer=plain.offer)
        check_verified(subject, plain, verified)
        num_accepted += verified.verified.num_accepted
        num_chosen += plain.tokens_out
    assert num_accepted > num_chosen / 4  # its text may have other tokens than were chosen


@law(Capability.VERIFICATION)
def test_nothing_is_verified_of_nothing(subject: Subject, engine: Engine) -> None:
    for prompt in subject.prompts:
        plain = answer(engine, subject, prompt)
        verified = answer(engine, subject, prompt, offer=Offer("", ended=False))
        assert_same(subject, plain, verified)
        assert verified.verified == Verified()


@law(Capability.VERIFICATION)
def test_an_abandoned_draft_goes_on_where_it_was_cut(subject: Subject, engine: Engine) -> None:
    num_accepted = 0
    for prompt in subject.prompts:
        plain = answer(engine, subject, prompt)
        part = answer(engine, subject, prompt, observer=Watcher(8))
        verified = answer(engine, subject, prompt, offer=part.offer)
        check_verified(subject, plain, verified)
        num_accepted += verified.verified.num_accepted
    assert num_accepted > 0


@law(Capability.VERIFICATION)
def test_a_verified_answer_is_shown_piece_by_piece_all_the_same(
    subject: Subject, engine: Engine
) -> None:
    for prompt in subject.prompts:
        plain, watcher = answer(engine, subject, prompt), Watcher()
        verified = answer(engine, subject, prompt, offer=plain.offer, observer=watcher)
        assert "".join(watcher.pieces) == verified.text


@law(Capability.VERIFICATION, Capability.SEEDS)
def test_a_verified_draft_gives_the_sampled_answer(subject: Subject, engine: Engine) -> None:
    pairs = []
    for seed in range(max(10, subject.num_examples)):
        prompt, sampling = (
            subject.prompts[seed % 3],
            {"temperature": 0.8, "seed": seed, "max_tokens": subject.num_drawn},
        )
        plain = answer(engine, subject, prompt, **sampling)
        offer = Offer(plain.text[:seed] + "zq")
        verified = answer(engine, subject, prompt, offer=offer, **sampling)
        pairs.append((plain.text, verified.text))
    assert_mostly_same(subject, pairs)


@lacking(Capability.VERIFICATION)
def test_without_verification_a_draft_changes_nothing_and_the_trace_says_so(
    subject: Subject, engine: Engine
) -> None:
    for prompt in subject.prompts:
        plain = answer(engine, subject, prompt)
        offered = answer(engine, subject, prompt, offer=plain.offer)
        assert_same(subject, plain, offered)
        assert offered.verified == Verified()
        assert "draft not verified: " in offered.remark


@law(Capability.DRAFT_TOKENS)
def test_a_draft_has_the_tokens_that_are_verified(subject: Subject, engine: Engine) -> None:
    for text in ("hello there", FOREIGN):
        cut, whole = (engine.draft_tokens(Offer(text, ended=ended)) for ended in (False, True))
        assert whole.token_ids[:-1] == cut.token_ids
        assert len(cut.sureties) == len(cut.token_ids) > 0
        ends = engine.token_ends(cut.token_ids)
        assert ends == () or (ends == tuple(sorted(ends)) and ends[-1] == len(text.encode()))


@lacking(Capability.DRAFT_TOKENS)
def test_without_tokens_of_drafts_there_are_none(subject: Subject, engine: Engine) -> None:
    assert engine.draft_tokens(Offer("hello there")) == DraftTokens()
    assert engine.token_ends((1, 2)) == ()
