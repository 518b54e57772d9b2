"""What cannot be done is said in one line, by an error of ours, before any work."""

from __future__ import annotations

from dataclasses import fields

import pytest

from adaptive_sd.engines.base import Engine
from adaptive_sd.errors import AdaptiveSDError, ConfigError, ContextOverflowError, EngineClosedError
from adaptive_sd.types import Draft, Sampling
from tests.conformance.laws import Watcher, answer, ask, assert_same, lacking, law, together
from tests.conformance.subject import Capability, Subject

BAD = [
    Sampling(max_tokens=0),
    Sampling(temperature=-0.1),
    Sampling(temperature=float("nan")),
    Sampling(top_p=0.0),
    Sampling(top_p=1.5),
    Sampling(seed=-1),
    Sampling(stop=("",)),
    Sampling(lenience=1.0, temperature=0.5),
]


def assert_one_line(error: AdaptiveSDError) -> None:
    assert str(error) and "\n" not in str(error)


@law(Capability.ERRORS)
@pytest.mark.parametrize("bad", BAD, ids=lambda bad: next(_changed(bad)))
def test_values_out_of_range_are_refused(subject: Subject, engine: Engine, bad: Sampling) -> None:
    watcher = Watcher()
    with pytest.raises(ConfigError) as caught:
        engine.generate(ask("hello"), bad, observer=watcher)
    assert_one_line(caught.value)
    assert watcher.seen == []


def _changed(sampling: Sampling):  # type: ignore[no-untyped-def]
    return (f.name for f in fields(Sampling) if getattr(sampling, f.name) != f.default)


@law(Capability.OVERFLOW)
def test_a_prompt_longer_than_the_context_is_refused_before_any_work(
    subject: Subject, engine: Engine
) -> None:
    plain = answer(engine, subject, subject.prompts[0])
    watcher = Watcher()
    with pytest.raises(ContextOverflowError) as caught:
        answer(engine, subject, "so the " * engine.info.context, observer=watcher)
    assert_one_line(caught.value)
    assert not any(progress.num_tokens for progress in watcher.seen)
    assert_same(subject, plain, answer(engine, subject, subject.prompts[0]))


@law(Capability.THREADS)
def test_threads_get_the_answers_they_would_get_alone(subject: Subject, engine: Engine) -> None:
    texts = [f"{prompt} {n}" for prompt in subject.prompts for n in range(3)]

    def work(text: str) -> Draft:
        return answer(engine, subject, text, max_tokens=16)

    alone = [work(text) for text in texts]
    for one, other in zip(alone, together(work, texts), strict=True):
        assert_same(subject, one, other)


@law(Capability.THREADS)
def test_a_request_that_fails_or_is_cancelled_harms_no_other(
    subject: Subject, engine: Engine
) -> None:
    bad = {"fails": ValueError, "too long": ContextOverflowError}
    good = [f"{prompt} {n}" for prompt in subject.prompts for n in range(2)]

    def fail(progress: object) -> bool:
        raise ValueError("mine")

    def work(text: str) -> Draft:
        if text == "fails":
            return answer(engine, subject, text, observer=fail)
        if text == "cancelled":
            return answer(engine, subject, text, observer=Watcher(2))
        return answer(engine, subject, text)

    alone = {text: work(text) for text in good}

    def attempt(text: str) -> Draft:
        try:
            return work("so the " * engine.info.context if text == "too long" else text)
        except (ValueError, ContextOverflowError) as error:
            assert isinstance(error, bad[text])
            return work(good[0])

    texts = [*good, *bad, "cancelled"]
    for text, draft in zip(texts, together(attempt, texts), strict=True):
        if text != "cancelled":
            assert_same(subject, alone.get(text, alone[good[0]]), draft)


@law(Capability.CLOSING)
def test_a_closed_engine_says_so_and_closes_once(subject: Subject) -> None:
    with subject.open() as engine:
        assert answer(engine, subject, subject.prompts[0]).text
        engine.close()
        engine.close()
        with pytest.raises(EngineClosedError) as caught:
            answer(engine, subject, subject.prompts[0])
    assert_one_line(caught.value)


@lacking(Capability.CLOSING)
def test_without_closing_it_answers_on(subject: Subject) -> None:
    with subject.open() as engine:
        plain = answer(engine, subject, subject.prompts[0])
        engine.close()
        engine.close()
        assert_same(subject, plain, answer(engine, subject, subject.prompts[0]))
