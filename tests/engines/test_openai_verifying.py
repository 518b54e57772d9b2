"""Drafts that a server verifies: never another answer than its own."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adaptive_sd.engines.alignment import DraftTokens
from adaptive_sd.engines.hosted.asking import Question, worth_verifying
from adaptive_sd.engines.openai.engine import OpenAIEngine
from adaptive_sd.engines.openai.options import EndpointOptions
from adaptive_sd.types import Acceptance, Draft, Message, Offer, Rates, Sampling, Verified
from tests.engines.openai_model import END, PIECES, TinyModel
from tests.engines.openai_script import MODEL, Script
from tests.engines.openai_server import Server, serving

READING = Rates.linear(0.001, 0.1)
"""Verifying costs a hundredth of decoding: all of a draft is worth it."""

SURE = Acceptance(bias=4.0)
KINDS = ("vllm", "sglang")
NO_COUNT = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@contextmanager
def engine_of(script: Script, **options: object) -> Iterator[tuple[Server, OpenAIEngine]]:
    with serving(script) as server:
        engine = OpenAIEngine(EndpointOptions(server.url, MODEL, **options))  # type: ignore[arg-type]
        try:
            yield server, engine
        finally:
            engine.close()


@pytest.fixture(scope="module", params=KINDS)
def served(request: pytest.FixtureRequest) -> Iterator[tuple[Server, OpenAIEngine]]:
    with engine_of(Script(kind=request.param)) as found:
        yield found


@pytest.fixture(scope="module", params=KINDS)
def served_plainly(request: pytest.FixtureRequest) -> Iterator[tuple[Server, OpenAIEngine]]:
    with engine_of(Script(kind=request.param), stream=False) as found:
        yield found


def ask(number: int) -> list[Message]:
    return [Message("user", f"question {number}")]


def answers(
    engine: OpenAIEngine, number: int, sampling: Sampling, offer: Offer
) -> tuple[Draft, Draft]:
    """With the draft, all of which is put to the server, and without."""
    verified = engine.generate(ask(number), sampling, draft=offer, rates=READING, acceptance=SURE)
    # one token can save no more than the one that comes with it costs
    most = min(len(TinyModel().tokens(offer.text)), sampling.max_tokens)
    assert verified.verified.num_drafted or most < 2
    return verified, engine.generate(ask(number), sampling)


WORDS = st.lists(st.sampled_from([*(p.decode("latin1") for p in PIECES[:-2]), "é", "z", "漢"]))


@st.composite
def offers(draw: st.DrawFn) -> tuple[int, Sampling, Offer]:
    """Some of the model's own answer, then anything; the answer may be cut before or after it."""
    model, number = TinyModel(), draw(st.integers(0, 20))
    prompt = model.chat([{"role": "user", "content": f"question {number}"}])
    own = [token for token in model.greedy(prompt, 24) if token != END]
    kept = draw(st.integers(0, len(own)))
    text = model.text(own[:kept]).rstrip("\ufffd") + "".join(draw(WORDS))
    stop = draw(st.sampled_from([(), ("so",), ("a", "th")]))
    sampling = Sampling(draw(st.integers(1, 30)), stop=stop)
    return number, sampling, Offer(text, ended=draw(st.booleans()))


def check_same(verified: Draft, plain: Draft) -> None:
    assert verified.text == plain.text
    assert verified.finish_reason == plain.finish_reason
    assert verified.tokens_in == plain.tokens_in
    assert verified.token_logprobs == pytest.approx(plain.token_logprobs)
    assert verified.token_margins == pytest.approx(plain.token_margins)
    assert verified.token_entropies == pytest.approx(plain.token_entropies)


@NO_COUNT
@given(asked=offers())
def test_a_verified_answer_is_the_servers_own(
    served: tuple[Server, OpenAIEngine], asked: tuple[int, Sampling, Offer]
) -> None:
    check_same(*answers(served[1], *asked))


@NO_COUNT
@given(asked=offers())
def test_so_it_is_without_streams(
    served_plainly: tuple[Server, OpenAIEngine], asked: tuple[int, Sampling, Offer]
) -> None:
    check_same(*answers(served_plainly[1], *asked))


def own_answer(model: TinyModel, number: int, limit: int = 30) -> tuple[list[int], str]:
    prompt = model.chat([{"role": "user", "content": f"question {number}"}])
    shown = [token for token in model.greedy(prompt, limit) if token != END]
    return shown, model.text(shown)


def ending(model: TinyModel) -> int | None:
    """A question whose answer ends by itself, after some tokens; None without one."""
    for number in range(9):
        prompt = model.chat([{"role": "user", "content": f"question {number}"}])
        tokens = model.greedy(prompt, 30)
        if END in tokens and len(tokens) > 4 and model.tokens(model.text(tokens)) == tokens[:-1]:
            return number
    return None


MODELS = [TinyModel(seed) for seed in range(99)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_draft_that_is_the_answer_takes_one_generation_and_is_counted(kind: str) -> None:
    model, number = next((m, n) for m in MODELS if (n := ending(m)) is not None)
    shown, text = own_answer(model, number)
    with engine_of(Script(model, kind)) as (server, engine):
        before = len(server.generations)
        verified, _ = answers(engine, number, Sampling(60), Offer(text))
        asked = server.generations[before:-1]
    drafted = len(shown)
    assert verified.verified == Verified(drafted, drafted, drafted + 1, (drafted + 1,))
    assert (verified.text, verified.finish_reason) == (text, "stop")
    assert len(asked) == (1 if kind == "vllm" else 0)
    assert verified.num_chosen == drafted + 1 and verified.remark == ""


@pytest.mark.parametrize("kind", KINDS)
def test_what_follows_an_accepted_beginning_is_asked_from_its_tokens_on(kind: str) -> None:
    model = TinyModel()
    shown, _ = own_answer(model, 0)
    half = model.text(shown[:8])
    assert model.tokens(half) == shown[:8]
    with engine_of(Script(model, kind)) as (server, engine):
        verified, plain = answers(engine, 0, Sampling(20), Offer(half + "zzzz"))
        *_, following, _ = server.generations
    prompt = model.chat([{"role": "user", "content": "question 0"}])
    num_accepted = verified.verified.num_accepted
    assert num_accepted >= 8 and verified.verified.num_drafted == 12
    assert following["prompt"] == [*prompt, *shown[:num_accepted]]
    assert following["max_tokens"] == 20 - num_accepted
    assert verified.num_chosen == plain.num_chosen


class Composing(TinyModel):
    """Its tokenizer composes characters as it reads: NFC."""

    def tokens(self, text: str) -> list[int]:
        return super().tokens(unicodedata.normalize("NFC", text))


@pytest.mark.parametrize("more", ["", "zq"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_draft_that_is_spelled_otherwise_gives_the_servers_own_spelling(
    kind: str, more: str
) -> None:
    models = [Composing(model.seed) for model in MODELS]
    model, text = next(
        (model, text)
        for model in models
        for shown, text in [own_answer(model, 0, 9)]
        if "é" in text and model.tokens(text) == shown
    )
    offer = Offer(unicodedata.normalize("NFD", text) + more)
    with engine_of(Script(model, kind)) as (_, engine):
        verified, plain = answers(engine, 0, Sampling(20), offer)
    assert (verified.text, verified.finish_reason) == (plain.text, plain.finish_reason)
    assert verified.verified.num_accepted >= len(model.tokens(text))


@pytest.mark.parametrize("kind", KINDS)
def test_after_a_draft_of_which_nothing_is_accepted_the_chat_is_asked(kind: str) -> None:
    with engine_of(Script(kind=kind)) as (server, engine):
        verified, plain = answers(engine, 0, Sampling(9), Offer("zzz"))
        following = [body for body in server.generations if body["max_tokens"] == 9]
    assert verified.text == plain.text and verified.verified.num_accepted == 0
    assert [("messages" in body) for body in following] == [True, True]
    assert verified.tokens_in == plain.tokens_in and verified.remark == ""


def test_an_ability_is_tried_once_when_the_server_is_first_asked() -> None:
    with engine_of(Script(kind="vllm")) as (server, engine):
        for number in range(3):
            engine.generate(ask(number), Sampling(4))
        paths = [path for path, _ in server.asked]
    assert paths.count("/v1/models") == paths.count("/version") == 1
    assert paths.count("/tokenize") == 2 and paths.count("/v1/completions") == 1


@pytest.mark.parametrize(
    ("script", "options", "sampling", "why"),
    [
        (Script(), {}, Sampling(9), "the server knows no way to verify drafts"),
        (Script(kind="vllm"), {"verify": False}, Sampling(9), "says verify = false"),
        (
            Script(kind="sglang", more={"reasoning_content": "hm"}),
            {},
            Sampling(9),
            "the server keeps a reasoning apart",
        ),
        (Script(kind="vllm"), {}, Sampling(9, 0.7), "a server's draws cannot be repeated"),
        (
            Script(kind="vllm", fault=lambda h, _: h.reply({"choices": [{}]}), num_faults=1),
            {},
            Sampling(9),
            "the vllm server gave no log-probabilities of a prompt",
        ),
    ],
)
def test_where_nothing_is_verified_the_remark_says_why(
    script: Script, options: dict[str, object], sampling: Sampling, why: str
) -> None:
    with engine_of(script, **options) as (_, engine):
        draft = engine.generate(
            ask(0), sampling, draft=Offer("so the"), rates=READING, acceptance=SURE
        )
        plain = engine.generate(ask(0), sampling)
    assert "draft not verified: " in draft.remark and why in draft.remark
    assert draft.verified == Verified() and plain.remark == ""
    assert sampling.temperature or draft.text == plain.text


@given(st.floats(1e-4, 1.0), st.floats(1e-4, 1.0), st.integers(1, 200), st.floats(-4, 4))
def test_verifying_is_expected_to_cost_less_than_decoding_what_it_saves(
    read: float, decode: float, num_drafted: int, bias: float
) -> None:
    rates, acceptance = Rates.linear(read, decode), Acceptance(bias, 0, 0, 0, 0, 0)
    question = Question(ask(0), Sampling(500), Offer("x"), rates, acceptance)
    draft = DraftTokens((*range(num_drafted),), (0.5,) * num_drafted)
    span = worth_verifying(draft, question)
    chance = 1 / (1 + math.exp(-bias))
    saved = sum(chance ** (i + 1) for i in range(len(span))) * decode
    # the draft is read, and a token is written that is not used
    assert not span or saved > (read * len(span) + decode) * (1 - 1e-9)


def test_a_draft_is_verified_only_where_that_is_expected_to_pay() -> None:
    with engine_of(Script(kind="vllm")) as (server, engine):
        before = len(server.generations)
        offer = Offer("so the")
        dear = Rates.linear(1.0, 1.0)
        draft = engine.generate(ask(0), Sampling(9), draft=offer, rates=dear, acceptance=SURE)
        assert len(server.generations) - before == 1
    assert draft.remark == "draft not verified: that would cost more than it saves"


@pytest.mark.parametrize("kind", KINDS)
def test_a_verification_that_fails_leaves_the_plain_answer(kind: str) -> None:
    script = Script(kind=kind)
    with engine_of(script) as (server, engine):
        plain = engine.generate(ask(0), Sampling(9))
        script.kind = ""  # /tokenize is gone
        draft = engine.generate(
            ask(0), Sampling(9), draft=Offer("so the"), rates=READING, acceptance=SURE
        )
        assert server.settle() == 0
    assert draft.text == plain.text and draft.remark.startswith("draft not verified: the server")


def test_lenience_keeps_tokens_that_are_almost_as_likely() -> None:
    model = TinyModel(sharpness=0.5)
    with engine_of(Script(model, "vllm")) as (_, engine):
        for text in ("so the a", " the so", "ab ab"):
            exact, lenient = (
                engine.generate(
                    ask(1),
                    Sampling(9, lenience=lenience),
                    draft=Offer(text),
                    rates=READING,
                    acceptance=SURE,
                ).verified.num_accepted
                for lenience in (0.0, 20.0)
            )
            assert exact <= lenient == len(model.tokens(text))


def test_prompt_tokens_are_the_servers() -> None:
    model = TinyModel()
    for kind in KINDS:
        with engine_of(Script(model, kind)) as (_, engine):
            chat = model.chat([{"role": "user", "content": "question 3"}])
            assert engine.prompt_tokens(ask(3)) == tuple(chat)
    with engine_of(Script(model)) as (_, engine):
        assert engine.prompt_tokens(ask(3)) == ()
