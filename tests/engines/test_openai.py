"""An engine over a scripted server: what is asked, what comes of it, and what it counts."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest

from adaptive_sd.engines.openai.engine import OpenAIEngine
from adaptive_sd.engines.openai.options import EndpointOptions
from adaptive_sd.errors import EngineClosedError
from adaptive_sd.types import Draft, Message, Progress, Sampling
from tests.engines.openai_model import END, TinyModel
from tests.engines.openai_script import MODEL, Script
from tests.engines.openai_server import Server, serving

ASK = [Message("user", "the question")]
TURNS = [{"role": "user", "content": "the question"}]
STREAMS = pytest.mark.parametrize("stream", [True, False], ids=["streaming", "plain"])


@contextmanager
def engine_of(server: Server, **options: object) -> Iterator[OpenAIEngine]:
    engine = OpenAIEngine(EndpointOptions(server.url, MODEL, **options))  # type: ignore[arg-type]
    try:
        yield engine
    finally:
        engine.close()


def ask(script: Script, sampling: Sampling | None = None, **options: object) -> Draft:
    with serving(script) as server, engine_of(server, **options) as engine:
        draft = engine.generate(ASK, sampling or Sampling(max_tokens=24))
        assert server.settle() == 0
        return draft


@STREAMS
@pytest.mark.parametrize("seed", range(8))
def test_an_answer_has_the_models_text_tokens_and_evidence(stream: bool, seed: int) -> None:
    model = TinyModel(seed)
    draft = ask(Script(model), stream=stream)
    prompt = model.chat(TURNS)
    tokens = model.greedy(prompt, 24)
    shown = [token for token in tokens if token != END]
    assert draft.text == model.text(shown)
    assert draft.finish_reason == ("stop" if END in tokens else "length")
    assert draft.tokens_in == len(prompt)
    assert draft.num_chosen == len(tokens)
    rows = [model.logprobs([*prompt, *tokens[:i]]) for i in range(len(shown))]
    assert draft.token_logprobs == pytest.approx([row.max() for row in rows])
    margins = [sorted(row)[-1] - sorted(row)[-2] for row in rows]
    assert draft.token_margins == pytest.approx(margins)
    entropies = [-float((row * [math.exp(p) for p in row]).sum()) for row in rows]
    pairs = zip(draft.token_entropies, entropies, strict=True)
    assert all(0 <= known <= whole + 1e-9 for known, whole in pairs)
    assert draft.token_ends == tuple(
        sum(len(model.bytes_of(t)) for t in shown[: i + 1]) for i in range(len(shown))
    )
    equal = [[a == b for b in shown] for a in shown]
    assert [[a == b for b in draft.token_ids] for a in draft.token_ids] == equal
    assert draft.remark == ""


@STREAMS
def test_what_is_asked_is_the_whole_request(stream: bool) -> None:
    with serving() as server, engine_of(server, stream=stream) as engine:
        turns = [Message("system", "be brief"), Message("user", "hi")]
        engine.generate(turns, Sampling(5, 0.7, 0.9, 11, ("\n",)))
        engine.generate(turns, Sampling(5))
        sampled, greedy = server.generations
    assert sampled["messages"] == [{"role": m.role, "content": m.content} for m in turns]
    wanted = {"model": MODEL, "max_tokens": 5, "temperature": 0.7, "top_p": 0.9, "seed": 11}
    assert wanted.items() <= sampled.items() and sampled["stop"] == ["\n"]
    assert sampled.get("stream", False) is stream
    assert greedy["temperature"] == 0 and not {"seed", "top_p", "stop"} & greedy.keys()


@STREAMS
@pytest.mark.parametrize(
    ("refused", "said"),
    [
        ("logprobs", "this model has no logprobs"),
        ("stream_options", "unknown field stream_options"),
        ("max_tokens", "max_tokens is not supported here, use max_completion_tokens instead"),
    ],
)
def test_a_parameter_that_a_server_refuses_is_left_out_from_then_on(
    stream: bool, refused: str, said: str
) -> None:
    with serving(Script(refuses={refused: said})) as server:
        with engine_of(server, stream=stream) as engine:
            drafts = [engine.generate(ASK, Sampling(max_tokens=6)) for _ in range(2)]
        asked = [refused in body for body in server.generations]
    assert asked == ([True, False, False] if asked[0] else [False, False])
    assert asked[0] or (refused == "stream_options" and not stream)
    assert drafts[0].text and drafts[0].text == drafts[1].text
    assert bool(drafts[1].token_logprobs) is (refused != "logprobs")


def test_an_observer_sees_every_token_once_and_its_end_of_it_closes_the_connection() -> None:
    model = TinyModel(3)
    script = Script(model, pause_s=0.02)
    whole = ask(Script(model), Sampling(24))
    seen: list[Progress] = []

    def observe(progress: Progress) -> bool:
        seen.append(progress)
        return progress.num_tokens < 5

    with serving(script) as server, engine_of(server) as engine:
        draft = engine.generate(ASK, Sampling(24), observer=observe)
        assert server.settle() == 0
        assert server.num_broken == 1
    assert draft.finish_reason == "cancelled"
    assert whole.text.startswith(draft.text)
    counts = [progress.num_tokens for progress in seen]
    assert sorted(set(counts)) == list(range(counts[0], 6))
    assert "".join(progress.new_text for progress in seen) == draft.text
    assert all(len(p.token_logprobs) == 5 or p.num_tokens < 5 for p in seen)


@pytest.mark.parametrize("kind", ["", "vllm", "sglang"])
def test_an_answer_that_is_cut_short_is_counted_where_the_server_does(kind: str) -> None:
    model = TinyModel(3)
    script = Script(model, kind, pause_s=0.02)
    with serving(script) as server, engine_of(server) as engine:
        draft = engine.generate(ASK, Sampling(24), observer=lambda p: p.num_tokens < 5)
    is_told = kind != ""
    assert (draft.tokens_in == len(model.chat(TURNS))) is is_told
    assert (draft.remark == "") is is_told and draft.tokens_out >= 5


def test_an_observer_is_asked_while_the_server_is_silent() -> None:
    asked = []

    def observe(progress: Progress) -> bool:
        asked.append(progress.num_tokens)
        return len(asked) < 3

    script = Script(fault=lambda handler, body: handler.wait_for_hang_up())
    with serving(script) as server, engine_of(server) as engine:
        draft = engine.generate(ASK, Sampling(24), observer=observe)
        assert (draft.finish_reason, draft.text) == ("cancelled", "")
        assert server.settle() == 0 and len(server.generations) == 1


@STREAMS
def test_requests_run_side_by_side_and_one_that_ends_early_disturbs_no_other(stream: bool) -> None:
    model = TinyModel(5)
    prompts = [[Message("user", f"question {n}")] for n in range(12)]
    with serving(Script(model, pause_s=0.002)) as server, engine_of(server, stream=stream) as e:
        alone = [e.generate(prompt, Sampling(30)).text for prompt in prompts]

        def one(place: int) -> str:
            def observe(progress: Progress) -> bool:
                return place % 3 > 0 or progress.num_tokens < 4

            return e.generate(prompts[place], Sampling(30), observer=observe).text

        with ThreadPoolExecutor(12) as pool:
            together = list(pool.map(one, range(12)))
        assert server.settle() == 0
    assert [together[n] == alone[n] for n in range(12) if n % 3] == [True] * 8
    assert all(alone[n].startswith(together[n]) for n in range(12))


def test_closing_ends_what_runs() -> None:
    script = Script(fault=lambda handler, _: handler.wait_for_hang_up())
    with serving(script) as server, engine_of(server) as engine, ThreadPoolExecutor(1) as pool:
        running = pool.submit(engine.generate, ASK, Sampling(9))
        while not server.generations:
            time.sleep(0.005)
        engine.close()
        with pytest.raises(EngineClosedError):
            running.result()
        assert server.settle() == 0


@STREAMS
def test_connections_are_kept(stream: bool) -> None:
    with serving() as server, engine_of(server, stream=stream) as engine:
        for _ in range(5):
            engine.generate(ASK, Sampling(4))
        assert len(server.sockets) == 1


@STREAMS
@pytest.mark.parametrize(
    "usage",
    [
        None,
        {"prompt_tokens": 10**6, "completion_tokens": 5},
        {"prompt_tokens": 0, "completion_tokens": 5},
        {"prompt_tokens": 10, "completion_tokens": -3},
        {"prompt_tokens": 10, "completion_tokens": 10**6},
        {"prompt_tokens": "10", "completion_tokens": 5},
    ],
)
def test_counts_that_cannot_be_are_estimated_and_said_to_be(
    stream: bool, usage: dict[str, object] | None
) -> None:
    model = TinyModel(1)
    draft = ask(Script(model, usage=lambda _: usage), Sampling(12), stream=stream)
    whole = ask(Script(model), Sampling(12), stream=stream)
    assert draft.remark.startswith("token counts are estimates: ")
    assert draft.tokens_in == len(ASK[0].content) // 4
    assert (draft.text, draft.tokens_out) == (whole.text, whole.tokens_out)


@STREAMS
def test_tokens_of_hidden_reasoning_are_counted(stream: bool) -> None:
    model = next(m for m in map(TinyModel, range(99)) if END in m.greedy(m.chat(TURNS), 20))
    more = Script(model, usage=lambda u: u | {"completion_tokens": u["completion_tokens"] + 30})
    draft = ask(more, Sampling(60), stream=stream)
    plain = ask(Script(model), Sampling(60), stream=stream)
    assert draft.num_chosen == plain.num_chosen + 30
    assert (draft.text, draft.token_logprobs) == (plain.text, plain.token_logprobs)


@STREAMS
def test_a_server_without_logprobs_leaves_the_evidence_out(stream: bool) -> None:
    model = TinyModel(2)
    draft = ask(Script(model, logprobs=False), Sampling(12), stream=stream)
    whole = ask(Script(model), Sampling(12), stream=stream)
    assert draft.text == whole.text and draft.num_chosen == whole.num_chosen
    evidence = (draft.token_logprobs, draft.token_entropies, draft.token_margins, draft.token_ends)
    assert evidence == ((), (), (), ()) and draft.hidden is None


@pytest.mark.parametrize("seed", range(4))
def test_text_that_comes_after_its_token_leaves_the_evidence_whole(seed: int) -> None:
    model = TinyModel(seed)
    draft, whole = (ask(Script(model, holds_back=late), Sampling(12)) for late in (True, False))
    assert draft.text == whole.text and len(draft.token_logprobs) == draft.tokens_out
    assert draft.token_logprobs == whole.token_logprobs and draft.token_ends == whole.token_ends


def test_logprobs_that_are_all_0_tell_nothing() -> None:
    certain = TinyModel(1, sharpness=1e5)
    draft = ask(Script(certain), Sampling(12))
    assert draft.tokens_out >= 4 and draft.token_logprobs == ()


def test_a_closed_engine_says_so() -> None:
    with serving() as server, engine_of(server) as engine:
        engine.close()
        engine.close()
        with pytest.raises(EngineClosedError):
            engine.generate(ASK, Sampling())


def test_an_assistants_last_turn_is_continued_where_a_server_has_to_be_told() -> None:
    turns = [*ASK, Message("assistant", "so")]
    for kind, told in (("", False), ("vllm", True), ("sglang", True)):
        with serving(Script(kind=kind)) as server, engine_of(server) as engine:
            engine.generate(turns, Sampling(4))
            assert ("continue_final_message" in server.generations[-1]) is told


def test_rates_are_of_this_endpoint_and_positive() -> None:
    with serving() as server, engine_of(server) as engine:
        rates = engine.measure_rates()
    assert rates.prefill_s > 0 and rates.decode_s > 0 and rates.unit == "s"
    assert rates.pass_s(3) == pytest.approx(rates.decode_s + 2 * rates.prefill_s)


def test_info_tells_model_and_server_apart() -> None:
    with serving(Script(kind="vllm")) as server, engine_of(server) as engine:
        info = engine.info
    assert (info.engine, info.engine_version, info.model) == ("openai", "vllm 0.29.0", MODEL)
    assert info.context == 4096 and len(info.model_hash) == 64
    assert replace(info, engine_version="") != info
