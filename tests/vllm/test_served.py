"""What only a server of vLLM's shows: what it can do, what it counts, what it is left with."""

from __future__ import annotations

import pytest

from adaptive_sd.engines.openai.engine import OpenAIEngine
from adaptive_sd.engines.openai.examining import examine_endpoint
from adaptive_sd.engines.openai.options import EndpointOptions
from adaptive_sd.errors import ContextOverflowError, EndpointError
from adaptive_sd.types import Message, Offer, Progress, Sampling
from tests.engines.margin import EAGER
from tests.vllm.running import CONTEXT, RunningServer
from tests.vllm.test_same_answers import CHEAP

CACHE_HITS = "vllm:prefix_cache_hits_total"
"""Tokens that all requests so far found."""

BLOCK = 32
"""Tokens that its cache finds together."""

LONG = [Message("user", "Count from 1 to 500: 1, 2, 3,")]


def test_an_examination_finds_all_that_it_can(server: RunningServer) -> None:
    found = examine_endpoint(EndpointOptions(server.url, server.name))
    assert found.server.startswith("vllm 0.") and found.context == CONTEXT
    assert found.logprobs and found.usage and found.tokenizer and found.prefix_cache
    assert found.verification, found.why_no_verification


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_that_is_cancelled_leaves_no_request(server: RunningServer, stream: bool) -> None:
    engine = OpenAIEngine(EndpointOptions(server.url, server.name, stream=stream))
    running = []

    def watch(progress: Progress) -> bool:
        running.append(server.num_running())
        return progress.num_tokens < 4 and (stream or not any(running))

    draft = engine.generate(LONG, Sampling(max_tokens=600), observer=watch)
    assert draft.finish_reason == "cancelled" and any(running)
    assert server.settle() == 0
    engine.close()


def test_votes_that_can_change_nothing_leave_no_request(
    server: RunningServer, served: OpenAIEngine
) -> None:
    asked = [Message("user", "Say a word, or count to a thousand.")]
    votes = served.sample(
        asked, Sampling(max_tokens=300, temperature=1.0), range(4), is_decided=lambda *_: True
    )
    assert any(vote.finish_reason != "cancelled" for vote in votes)
    assert server.settle() == 0


def test_what_follows_a_verified_draft_is_found_in_the_cache(
    server: RunningServer, served: OpenAIEngine
) -> None:
    asked = [Message("user", f"{'These words are to be read but once. ' * 20}\nCount to 9.")]
    plain = served.generate(asked, Sampling(max_tokens=40))
    before = server.metric(CACHE_HITS)
    verified = served.generate(
        asked,
        Sampling(max_tokens=40),
        draft=Offer(plain.text[: len(plain.text) // 2]),
        rates=CHEAP,
        acceptance=EAGER,
    )
    assert verified.verified.num_accepted > 0
    known = plain.tokens_in + verified.verified.num_accepted
    assert max(1, known - BLOCK) <= server.metric(CACHE_HITS) - before <= known


def test_too_long_a_prompt_is_refused_as_such(served: OpenAIEngine) -> None:
    with pytest.raises(ContextOverflowError, match="does not fit its context"):
        served.generate([Message("user", "word " * CONTEXT)], Sampling(max_tokens=4))


def test_an_answer_may_be_asked_that_has_no_room(served: OpenAIEngine) -> None:
    """It is cut where the context ends, as in other engines."""
    asked = [Message("user", "word " * (CONTEXT - 100))]
    draft = served.generate(asked, Sampling(max_tokens=10 * CONTEXT))
    assert draft.finish_reason in ("length", "stop")
    assert draft.tokens_in + draft.tokens_out <= CONTEXT


def test_a_model_that_is_not_there_is_told_with_those_that_are(server: RunningServer) -> None:
    engine = OpenAIEngine(EndpointOptions(server.url, "gone-7b"))
    with pytest.raises(EndpointError, match=rf"no such model.*It serves {server.name}"):
        engine.generate(LONG, Sampling(max_tokens=2))
    engine.close()


def test_what_a_maker_likes_does_not_bend_greedy_answers(larger: RunningServer) -> None:
    """The server's model has a repetition penalty of 1.5 in its generation_config.json."""
    engine = OpenAIEngine(EndpointOptions(larger.url, larger.name, whole_s=600, first_byte_s=300))
    asked = [Message("user", "Say yes, yes, yes, and so on, as often as you can.")]
    plain = engine.generate(asked, Sampling(max_tokens=24))
    draft = engine.generate(
        asked, Sampling(max_tokens=24), draft=plain.offer, rates=CHEAP, acceptance=EAGER
    )
    assert draft.text == plain.text
    assert draft.verified.num_accepted >= plain.tokens_out - 2
    engine.close()


def test_a_body_reaches_the_server(server: RunningServer) -> None:
    body = {"min_tokens": 24}
    engine = OpenAIEngine(EndpointOptions(server.url, server.name, body=body))
    draft = engine.generate([Message("user", "Say yes.")], Sampling(max_tokens=24))
    assert draft.tokens_out == 24
    engine.close()
