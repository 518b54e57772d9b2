"""vLLM in process, a vLLM server and vLLM's plain interface give the same greedy answers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adaptive_sd.engines.base import Engine
from adaptive_sd.offline.benches.methods import divergence_margin
from adaptive_sd.types import Draft, Message, Offer, Progress, Rates, Sampling
from tests.engines.margin import EAGER, FLOAT32_NOISE, assert_same_up_to_margin
from tests.vllm.plain import MAX_TOKENS, PROMPTS, Greedy, Plain

CHEAP = Rates.linear(0.001, 0.1)
"""Verifying costs a hundredth of decoding: all of a draft is worth it."""


class Watcher:
    """Keeps the pieces that an observer is shown."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.num_tokens = 0

    def __call__(self, progress: Progress) -> bool:
        self.pieces.append(progress.new_text)
        self.num_tokens = progress.num_tokens
        return True


@pytest.fixture(params=["local", "served"])
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


def answer(engine: Engine, prompt: str, draft: Offer | None = None, **more: object) -> Draft:
    return engine.generate(
        [Message("user", prompt)],
        Sampling(max_tokens=MAX_TOKENS),
        draft=draft,
        rates=CHEAP,
        acceptance=EAGER,
        **more,  # type: ignore[arg-type]
    )


def check_same(a: Draft, plain: Greedy) -> None:
    """By text: numbers of served tokens are not the model's."""
    if a.text != plain.text:
        margin = divergence_margin(plain, a)
        assert margin is not None and margin <= 2 * FLOAT32_NOISE, (a.text, plain.text)


def test_in_process_answers_are_the_plain_ones(local: Engine, plain: Plain) -> None:
    for prompt, wanted in zip(PROMPTS, plain.answers(), strict=True):
        found = answer(local, prompt)
        check_same(found, wanted)
        assert found.token_ids == wanted.token_ids or found.text != wanted.text
        assert found.token_margins == pytest.approx(wanted.token_margins, abs=2 * FLOAT32_NOISE)


def test_served_answers_are_those_in_process(local: Engine, served: Engine) -> None:
    for prompt in PROMPTS:
        here, there = answer(local, prompt), answer(served, prompt)
        assert here.tokens_in == there.tokens_in
        check_same(there, Greedy(here.text, here.token_ids, here.token_margins))
        if here.text == there.text:
            assert there.finish_reason == here.finish_reason
            assert there.token_logprobs == pytest.approx(here.token_logprobs, abs=2 * FLOAT32_NOISE)
            assert there.token_entropies == pytest.approx(here.token_entropies, abs=0.05)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_verified_draft_gives_the_plain_answer(engine: Engine, prompt: str) -> None:
    plain = answer(engine, prompt)
    words = plain.text.split(" ")
    half = len(words) // 2
    drafts = (
        plain.text,
        " ".join(words[:half]),
        " ".join([*words[:half], "otherwise", *words[half:]]),
        "Sure! Here's 漢字 — «наконец», isn't it? 🙂",
    )
    for text in drafts:
        verified = answer(engine, prompt, Offer(text))
        # one token saves no more than the one that comes with it costs
        assert verified.verified.num_drafted > 0 or len(text) < 12
        if verified.text != plain.text:
            assert_same_up_to_margin(plain, verified, FLOAT32_NOISE)
        assert verified.tokens_in == plain.tokens_in
        assert verified.num_chosen == plain.num_chosen or verified.text != plain.text


def test_a_draft_of_its_own_is_accepted_and_what_follows_is_short(engine: Engine) -> None:
    plain = answer(engine, PROMPTS[0])
    verified = answer(engine, PROMPTS[0], plain.offer)
    assert verified.verified.num_accepted >= plain.tokens_out - 2
    assert verified.remark == ""


def test_what_streams_is_the_whole_answer(engine: Engine) -> None:
    for prompt in PROMPTS[-2:]:
        watcher = Watcher()
        draft = answer(engine, prompt, observer=watcher)
        assert "".join(watcher.pieces) == draft.text
        assert len(watcher.pieces) > 2 and watcher.num_tokens == draft.tokens_out


def test_a_stop_string_ends_the_answer_before_it(engine: Engine) -> None:
    plain = answer(engine, PROMPTS[0])
    stop = plain.text[6:9]
    sampling = Sampling(max_tokens=MAX_TOKENS, stop=(stop,))
    stopped = engine.generate([Message("user", PROMPTS[0])], sampling)
    assert stopped.text == plain.text[: plain.text.index(stop)]
    assert stopped.finish_reason == "stop_string"
    verified = engine.generate(
        [Message("user", PROMPTS[0])], sampling, draft=plain.offer, rates=CHEAP, acceptance=EAGER
    )
    assert (verified.text, verified.finish_reason) == (stopped.text, "stop_string")


def test_a_seed_gives_the_same_votes_and_they_are_many(engine: Engine) -> None:
    asked, seeds = [Message("user", "Name an animal.")], range(4)
    sampling = Sampling(max_tokens=12, temperature=1.0, top_p=0.95)
    votes = engine.sample(asked, sampling, seeds)
    assert len({vote.text for vote in votes}) > 1
    again = [engine.generate(asked, replace(sampling, seed=seed)) for seed in seeds]
    assert sum(a.text == b.text for a, b in zip(votes, again, strict=True)) >= 3
