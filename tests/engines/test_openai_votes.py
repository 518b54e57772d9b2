"""Votes of a served model: a request for each seed, side by side, none left behind."""

from __future__ import annotations

import pytest

from adaptive_sd.engines.openai.engine import OpenAIEngine
from adaptive_sd.engines.openai.options import EndpointOptions
from adaptive_sd.errors import EndpointError
from adaptive_sd.types import Draft, Message, Progress, Rates, Sampling
from tests.engines.openai_script import MODEL, Script
from tests.engines.openai_server import Server, serving

ASK = [Message("user", "the question")]
SAMPLING = Sampling(max_tokens=12, temperature=0.7)
SEEDS = [3, 4, 5]


def cast(server: Server, **options: object) -> list[Draft]:
    engine = OpenAIEngine(EndpointOptions(server.url, MODEL))
    try:
        return engine.sample(ASK, SAMPLING, SEEDS, **options)  # type: ignore[arg-type]
    finally:
        engine.close()


@pytest.mark.parametrize("kind", ["", "vllm"])
def test_a_vote_is_the_answer_with_its_seed(kind: str) -> None:
    with serving(Script(kind=kind)) as server:
        votes = cast(server)
        asked = [body for body in server.generations if "seed" in body]
        engine = OpenAIEngine(EndpointOptions(server.url, MODEL))
        alone = engine.generate(ASK, SAMPLING)
        engine.close()
    assert sorted(body["seed"] for body in asked) == SEEDS
    assert {body["temperature"] for body in asked} == {0.7}
    for vote in votes:
        assert (vote.text, vote.token_logprobs) == (alone.text, alone.token_logprobs)
        assert (vote.tokens_in, vote.finish_reason) == (alone.tokens_in, alone.finish_reason)


def test_the_prompt_and_the_seconds_are_counted_once() -> None:
    with serving() as server:
        first, *others = cast(server)
    assert first.num_cached == 0 and first.prefill_s > 0
    assert all(vote.num_cached == vote.tokens_in and vote.prefill_s == 0 for vote in others)
    assert len({vote.decode_s for vote in (first, *others)}) == 1


def test_a_decision_cuts_the_others_short_and_leaves_no_request() -> None:
    def hang(handler: object, body: dict[str, object]) -> None:
        handler.wait_for_hang_up()  # type: ignore[attr-defined]

    with serving(Script(fault=hang, num_faults=2)) as server:
        votes = cast(server, is_decided=lambda texts: len(texts) >= 1)
        assert server.settle() == 0
    reasons = [vote.finish_reason for vote in votes]
    assert reasons.count("cancelled") == 2 and len(set(reasons)) == 2


def test_an_observer_sees_the_work_on_all_and_can_end_it() -> None:
    seen: list[Progress] = []

    def watch(progress: Progress) -> bool:
        seen.append(progress)
        return sum(progress.work.passes.values()) < 4

    with serving(Script(pause_s=0.01)) as server:
        votes = cast(server, observer=watch)
        assert server.settle() == 0
    assert {vote.finish_reason for vote in votes} == {"cancelled"}
    assert max(rows for progress in seen for rows in progress.work.passes) > 1
    assert all(progress.new_text == "" for progress in seen)


def test_the_work_seen_last_costs_what_the_votes_do() -> None:
    seen: list[Progress] = []
    with serving(Script(kind="vllm")) as server:
        votes = cast(server, observer=lambda progress: seen.append(progress) or True)
    rates = Rates(0.5, 1.0, ((8, 3.0),))
    paid = rates.votes_s(votes[0].tokens_in, [vote.num_chosen for vote in votes])
    assert max(rates.work_s(progress.work) for progress in seen) == pytest.approx(paid, abs=2)


def test_one_that_fails_fails_all_and_leaves_no_request() -> None:
    refuse = Script(fault=lambda handler, _: handler.reply({"error": "no"}, 400), num_faults=1)
    with serving(refuse) as server:
        with pytest.raises(EndpointError, match="no"):
            cast(server)
        assert server.settle() == 0
