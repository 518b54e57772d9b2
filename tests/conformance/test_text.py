"""Stop strings and characters, however tokens cut them."""

from __future__ import annotations

import random

from adaptive_sd.engines.base import Engine
from adaptive_sd.types import Draft, Offer
from tests.conformance.laws import Watcher, answer, lacking, law
from tests.conformance.subject import Capability, Subject
from tests.engines.margin import assert_same_up_to_margin


def stops_of(draft: Draft) -> list[str]:
    """Pieces of the answer of some characters, one of them across the border of two tokens."""
    text = draft.text
    rng = random.Random(text)
    places = [rng.randrange(1, len(text) - 2) for _ in range(3)]
    stops = [text[at : at + rng.randrange(1, 6)] for at in places]
    if len(draft.token_ends) > 2:
        border = len(text.encode()[: draft.token_ends[1]].decode(errors="ignore"))
        stops.append(text[border - 1 : border + 1])
    return stops


def expect_stop(subject: Subject, plain: Draft, stopped: Draft, stops: tuple[str, ...]) -> None:
    """The plain answer up to the first of the strings; another one only by the margin rule."""
    expected = plain.text[: min(plain.text.index(s) for s in stops if s in plain.text)]
    if stopped.text != expected:
        assert_same_up_to_margin(plain, stopped, subject.noise)


@law(Capability.STOP_STRINGS)
def test_an_answer_ends_before_a_stop_string_that_is_never_shown(
    subject: Subject, engine: Engine
) -> None:
    for prompt in subject.prompts:
        plain = answer(engine, subject, prompt)
        for stop in stops_of(plain):
            stops, watcher = ("never said", stop), Watcher()
            stopped = answer(engine, subject, prompt, stop=stops, observer=watcher)
            expect_stop(subject, plain, stopped, stops)
            assert "".join(watcher.pieces) == stopped.text
            assert stop not in stopped.text


@law(Capability.STOP_STRINGS, Capability.VERIFICATION)
def test_so_it_does_within_a_draft(subject: Subject, engine: Engine) -> None:
    for prompt in subject.prompts:
        plain = answer(engine, subject, prompt)
        for stop in stops_of(plain):
            stopped = answer(engine, subject, prompt, stop=(stop,), offer=plain.offer)
            expect_stop(subject, plain, stopped, (stop,))


@law(Capability.STOP_REASON)
def test_a_stop_string_is_the_reason(subject: Subject, engine: Engine) -> None:
    plain = answer(engine, subject, subject.prompts[0])
    reasons = [
        answer(engine, subject, subject.prompts[0], stop=stops).finish_reason
        for stops in ((plain.text[2:4],), ("never said",))
    ]
    assert reasons == ["stop_string", plain.finish_reason]


@lacking(Capability.STOP_REASON)
def test_without_telling_the_reason_is_one_of_both(subject: Subject, engine: Engine) -> None:
    plain = answer(engine, subject, subject.prompts[0])
    stopped = answer(engine, subject, subject.prompts[0], stop=(plain.text[2:4],))
    assert stopped.finish_reason in ("stop", "stop_string")


@law(Capability.UTF8)
def test_a_character_comes_whole(subject: Subject, engine: Engine) -> None:
    """In own answers, and in drafts that full lenience follows; no piece ends within one."""
    asked = [(prompt, None, {}) for prompt in subject.prompts]
    if subject.can(Capability.VERIFICATION):
        for cut in range(1, len(subject.wide)):
            offer = Offer(subject.wide[:cut], ended=False)
            asked.append((subject.prompts[0], offer, {"lenience": 20.0}))
    num_wide = 0
    for prompt, offer, sampling in asked:
        watcher = Watcher()
        draft = answer(engine, subject, prompt, offer=offer, observer=watcher, **sampling)
        assert "".join(watcher.pieces) == draft.text
        whole = draft.text.rstrip("\ufffd")  # a server shows half a character where it is cut
        assert "\ufffd" not in whole
        num_wide += not whole.isascii()
    assert num_wide
