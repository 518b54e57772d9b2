"""Greedy answers: the same each time, as long as they may be, counted."""

from __future__ import annotations

import pytest

from adaptive_sd.engines.base import Engine
from adaptive_sd.types import Message, Sampling
from tests.conformance.laws import answer, ask, assert_begins, assert_same, lacking, law
from tests.conformance.subject import Capability, Subject


@law(Capability.GENERATION)
def test_a_greedy_answer_is_the_same_each_time(subject: Subject, engine: Engine) -> None:
    for prompt in subject.prompts:
        first, *others = (answer(engine, subject, prompt) for _ in range(3))
        assert first.text
        for other in others:
            assert_same(subject, first, other)


@law(Capability.GENERATION)
@pytest.mark.parametrize("most", [1, 2, 7])
def test_an_answer_is_cut_at_its_most_tokens(subject: Subject, engine: Engine, most: int) -> None:
    for prompt in subject.prompts:
        short, long = (answer(engine, subject, prompt, max_tokens=n) for n in (most, 20))
        assert short.tokens_out <= most
        is_counted = "estimates" not in short.remark
        assert short.finish_reason == "stop" or short.tokens_out == most or not is_counted
        assert short.finish_reason in ("stop", "length")
        assert_begins(subject, short, long)


@law(Capability.GENERATION)
def test_counts_are_those_of_the_answer(subject: Subject, engine: Engine) -> None:
    for prompt in subject.prompts:
        draft = answer(engine, subject, prompt)
        assert 0 < draft.tokens_out <= subject.max_tokens
        assert draft.num_chosen == draft.tokens_out + (draft.finish_reason == "stop")
        assert 0 <= draft.num_cached < draft.tokens_in
        assert draft.prefill_s >= 0 and draft.decode_s >= 0
        ends = draft.token_ends
        assert ends == tuple(sorted(ends)) and len(ends) in (0, draft.tokens_out)


@law(Capability.GENERATION)
def test_a_draw_from_next_to_nothing_is_the_greedy_answer(subject: Subject, engine: Engine) -> None:
    for prompt in subject.prompts:
        drawn = answer(engine, subject, prompt, temperature=1.0, top_p=1e-9, seed=5)
        assert_same(subject, answer(engine, subject, prompt), drawn)


@law(Capability.GENERATION)
def test_a_conversation_is_read_whole(subject: Subject, engine: Engine) -> None:
    system = Message("system", "be brief")
    turns = [Message("user", "hi"), Message("assistant", "hello"), Message("user", "and you?")]
    longer = Message("system", f"{system.content}, and polite")
    counts = [
        engine.generate(messages, Sampling(max_tokens=3)).tokens_in
        for messages in ([system, turns[-1]], [system, *turns], [longer, *turns])
    ]
    assert counts == sorted(set(counts))


@law(Capability.GENERATION)
def test_it_says_what_it_runs(subject: Subject, engine: Engine) -> None:
    info = engine.info
    assert info.engine and info.model and info.model_hash
    assert info.context >= 0 and info.num_parameters >= 0 and info.hidden_width >= 0
    assert info == engine.info


@law(Capability.PREFIXES)
def test_a_prompt_that_was_read_before_is_known(subject: Subject, engine: Engine) -> None:
    beginning = "the same long beginning of every question that is asked here, " * 6
    first, other = (answer(engine, subject, f"{beginning}{i}") for i in range(2))
    again = answer(engine, subject, f"{beginning}1")
    assert 3 * other.num_cached > other.tokens_in  # some know whole blocks of tokens only
    assert other.num_cached <= again.num_cached < again.tokens_in == first.tokens_in


@lacking(Capability.PREFIXES)
def test_without_telling_nothing_is_known(subject: Subject, engine: Engine) -> None:
    drafts = [answer(engine, subject, "a question that comes twice") for _ in range(2)]
    assert [draft.num_cached for draft in drafts] == [0, 0]


@law(Capability.RATES)
def test_rates_are_positive_seconds(subject: Subject, engine: Engine) -> None:
    rates = engine.measure_rates()
    assert rates.unit == "s" and rates.prefill_s > 0 and rates.decode_s > 0
    assert all(rows > 1 and seconds > 0 for rows, seconds in rates.verify_s)


@law(Capability.TOKENIZER)
def test_prompt_tokens_are_those_that_are_read(subject: Subject, engine: Engine) -> None:
    for prompt in subject.prompts:
        assert len(engine.prompt_tokens(ask(prompt))) == answer(engine, subject, prompt).tokens_in


@law(Capability.TOKENIZER)
def test_a_begun_answer_of_the_assistant_is_continued(subject: Subject, engine: Engine) -> None:
    plain = engine.prompt_tokens(ask("a"))
    begun = engine.prompt_tokens([*ask("a"), Message("assistant", "so")])
    assert len(begun) > len(plain) and begun[: len(plain)] == plain


@lacking(Capability.TOKENIZER)
def test_without_a_tokenizer_a_prompt_has_no_tokens(subject: Subject, engine: Engine) -> None:
    assert engine.prompt_tokens(ask("hello")) == ()
