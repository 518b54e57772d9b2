"""The fault table: whatever a server does, one answer or error, one trace, nothing left over."""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from adaptive_sd.cascade import Cascade, Request
from adaptive_sd.engines.fake import FakeEngine
from adaptive_sd.engines.openai.engine import OpenAIEngine
from adaptive_sd.engines.openai.options import EndpointOptions
from adaptive_sd.errors import ContextOverflowError, EndpointError, EndpointTimeoutError
from adaptive_sd.stage import Stage
from adaptive_sd.trace import Answer
from adaptive_sd.trace_store import TraceStore
from adaptive_sd.types import Action, Message, OnFailure, Sampling
from tests.engines import openai_faults as faults
from tests.engines.openai_script import MODEL, Script
from tests.engines.openai_server import Fault, Server, serving
from tests.test_cascade import ScriptedJudge

KEY = "sk-0123456789abcdef"
STREAMS = pytest.mark.parametrize("stream", [True, False], ids=["streaming", "plain"])


@dataclass(frozen=True)
class Case:
    """`said` is in the reason; `num_asked` is how often the server is asked for a generation."""

    fault: Fault | None
    said: str
    num_asked: int = 1
    is_late: bool = False


CASES = {
    "refuse": Case(None, "cannot be reached", 0),
    "reset": Case(faults.reset, "broke the connection", 3),
    "hang before headers": Case(faults.hang_before_headers, "within 1 s", is_late=True),
    "hang after headers": Case(faults.hang_after_headers, "within 1 s", is_late=True),
    "cut in the middle": Case(faults.cut, "broke the connection"),
    "end before the end": Case(faults.end_early, "ended its answer before it was whole"),
    "error in the answer": Case(faults.fail_inside, "failed: CUDA out of memory"),
    "429": Case(faults.status(429), "is asked too often (status 429): not now", 3),
    "429 with a wait": Case(faults.status(429, retry_after="2"), "is asked too often", 3),
    "429 with a long wait": Case(faults.status(429, retry_after="900"), "is asked too often"),
    "503": Case(faults.status(503), "is overloaded or not ready (status 503): not now", 3),
    "503 with a wait": Case(faults.status(503, retry_after="2"), "is overloaded", 3),
    "503, not to be tried": Case(faults.status(503, x_should_retry="false"), "is overloaded"),
    "401": Case(faults.status(401), "refuses the key (TINY_KEY) (status 401)"),
    "HTML": Case(faults.html, "sent what is no JSON"),
    "bad JSON": Case(faults.bad_json, "sent what is no JSON"),
    "other JSON": Case(faults.other_json, "sent JSON that is no answer"),
    "bad UTF-8": Case(faults.bad_utf8, "sent what is no JSON"),
    "a byte at a time": Case(faults.drip, "took longer than 1.5 s", is_late=True),
}


class Sleeps(list[float]):
    """The pauses between tries, which take no time here."""

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


@contextmanager
def fallible(
    script: Script, *, stream: bool, is_refused: bool = False, is_late: bool = False
) -> Iterator[tuple[Server, OpenAIEngine, Sleeps]]:
    """An engine of a server; `is_refused`: nobody listens there; `is_late`: waits are short."""
    with serving(script) as server, socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unheard.getsockname()[1]}/v1" if is_refused else server.url
        first_byte_s, whole_s = (1.0, 1.5) if is_late else (60.0, 60.0)
        options = EndpointOptions(
            url, MODEL, "TINY_KEY", stream=stream, first_byte_s=first_byte_s, whole_s=whole_s
        )
        sleeps = Sleeps()
        engine = OpenAIEngine(options, key=KEY, sleep=sleeps)
        sleeps.clear()  # of finding out what the server can do
        try:
            yield server, engine, sleeps
        finally:
            engine.close()


def open_case(
    case: Case, script: Script, *, stream: bool
) -> AbstractContextManager[tuple[Server, OpenAIEngine, Sleeps]]:
    return fallible(script, stream=stream, is_refused=case.fault is None, is_late=case.is_late)


def ladder(faulty: OpenAIEngine, *, is_first: bool, on_failure: OnFailure = "degrade") -> Cascade:
    """Two stages that run one after the other; one of them is faulty."""
    other = FakeEngine("other", lambda _: "said by the other")
    engines = (faulty, other) if is_first else (other, faulty)
    names = ("faulty", "other") if is_first else ("other", "faulty")
    stages = [Stage(n, load=lambda e=e: e) for n, e in zip(names, engines, strict=True)]
    return Cascade(stages, Judge((0, 1), 1), on_failure=on_failure)


class Judge(ScriptedJudge):
    """Abandons nothing."""

    def saved(self, *_: object) -> float:
        return 0.0


REQUEST = Request(max_tokens=12)


def run(cascade: Cascade, *, stream: bool) -> Answer:
    if not stream:
        return cascade.answer("a question", REQUEST)
    with cascade.stream("a question", REQUEST) as pieces:
        text = "".join(pieces)
    assert pieces.answer is not None and pieces.answer.text == text
    return pieces.answer


def check_aftermath(server: Server, answer: Answer, folder: Path) -> None:
    """One answer, one trace of it without the key, and nothing that the server still works on."""
    path = folder / "traces.sqlite"
    TraceStore(path).append("a question", answer)
    with closing(sqlite3.connect(path)) as kept:
        assert kept.execute("SELECT trace_id FROM trace").fetchall() == [(answer.trace_id,)]
    assert KEY not in path.read_bytes().decode("latin1") and KEY not in repr(answer)
    assert server.settle() == 0


@STREAMS
@pytest.mark.parametrize("is_first", [True, False], ids=["first", "last"])
@pytest.mark.parametrize("name", CASES)
def test_the_fault_table(name: str, is_first: bool, stream: bool, tmp_path: Path) -> None:
    case = CASES[name]
    # what a plain reply waits for is all of it, so only the whole time bounds it
    said = "took longer than 1.5 s" if case.is_late and not stream else case.said
    script = Script(fault=case.fault, key=KEY)
    with open_case(case, script, stream=stream) as (server, engine, sleeps):
        cascade = ladder(engine, is_first=is_first)
        answer = run(cascade, stream=stream)
        check_aftermath(server, answer, tmp_path)
        assert len(server.generations) == case.num_asked
    assert (answer.text, answer.stage) == ("said by the other", "other")
    assert answer.degraded is not is_first
    actions = [(step.stage, step.action) for step in answer.trace]
    failed, drafted = ("faulty", Action.SKIP), ("other", Action.DRAFT)
    recalled = ("other", Action.RECALL)
    assert actions == ([failed, drafted] if is_first else [drafted, failed, recalled])
    (reason,) = (step.reason for step in answer.trace if step.stage == "faulty")
    assert reason.startswith(f"failed: {engine._options.base_url}, {MODEL}: ")
    assert said in reason and "\n" not in reason
    if "with a wait" in name:
        assert len(sleeps) == 2 and min(sleeps) >= 2
    assert len(sleeps) == max(0, (case.num_asked or 3) - 1)


@STREAMS
@pytest.mark.parametrize("name", CASES)
def test_where_that_is_asked_for_a_failure_is_the_error(name: str, stream: bool) -> None:
    case = CASES[name]
    script = Script(fault=case.fault, key=KEY)
    with open_case(case, script, stream=stream) as (server, engine, _):
        cascade = ladder(engine, is_first=False, on_failure="error")
        with pytest.raises(EndpointError) as caught:
            run(cascade, stream=stream)
        assert server.settle() == 0
    assert "\n" not in str(caught.value) and KEY not in str(caught.value)
    assert isinstance(caught.value, EndpointTimeoutError) is case.is_late


@STREAMS
@pytest.mark.parametrize("is_first", [True, False], ids=["first", "last"])
def test_a_model_that_is_gone_is_named(is_first: bool, stream: bool, tmp_path: Path) -> None:
    script = Script(key=KEY, models=("another", "a third"))
    with fallible(script, stream=stream) as (server, engine, _):
        answer = run(ladder(engine, is_first=is_first), stream=stream)
        check_aftermath(server, answer, tmp_path)
        assert len(server.generations) == 1
    (reason,) = (step.reason for step in answer.trace if step.stage == "faulty")
    assert f"has no such model or path (status 404): The model `{MODEL}` does not exist" in reason
    assert "It serves another, a third." in reason
    assert (answer.text, answer.degraded) == ("said by the other", not is_first)


@STREAMS
@pytest.mark.parametrize("is_first", [True, False], ids=["first", "last"])
@pytest.mark.parametrize(
    "script",
    [
        Script(key=KEY, logprobs=False),
        Script(key=KEY, usage=lambda _: {"prompt_tokens": -1, "completion_tokens": 10**9}),
    ],
    ids=["logprobs missing", "wrong usage"],
)
def test_what_is_missing_around_an_answer_does_not_fail_it(
    script: Script, is_first: bool, stream: bool, tmp_path: Path
) -> None:
    with fallible(script, stream=stream) as (server, engine, _):
        answer = run(ladder(engine, is_first=is_first), stream=stream)
        check_aftermath(server, answer, tmp_path)
        assert len(server.generations) == 1
    assert not answer.degraded and answer.stage_index == 1
    assert answer.trace[0].action is Action.DRAFT
    (step,) = (step for step in answer.trace if step.stage == "faulty")
    assert step.tokens_out > 0
    assert ("token counts are estimates" in step.reason) is (script.logprobs is True)


@STREAMS
def test_a_server_that_comes_back_is_asked_again(stream: bool) -> None:
    for fault in (faults.reset, faults.status(503), faults.status(429, retry_after="1")):
        script = Script(fault=fault, num_faults=2, key=KEY)
        with fallible(script, stream=stream) as (server, engine, sleeps):
            answer = run(ladder(engine, is_first=False), stream=stream)
            assert len(server.generations) == 3 and len(sleeps) == 2
        assert answer.stage == "faulty" and not answer.degraded


def test_text_that_was_shown_is_never_replaced() -> None:
    with fallible(Script(fault=faults.cut, key=KEY), stream=True) as (server, engine, _):
        other = FakeEngine("other", lambda _: "said by the other")
        stages = [Stage("other", load=lambda: other), Stage("faulty", load=lambda: engine)]
        cascade = Cascade(stages, Judge((1,), 1))
        shown = []
        with (
            cascade.stream("a question") as pieces,
            pytest.raises(EndpointError, match="broke the connection"),
        ):
            shown += pieces
        assert shown == ["half an"] and pieces.answer is None and other.calls == []
        assert server.settle() == 0


def test_without_any_answer_the_last_error_is_raised() -> None:
    script = Script(fault=faults.status(503), key=KEY)
    with fallible(script, stream=True) as (_, first, _), fallible(script, stream=True) as made:
        stages = [Stage("a", load=lambda: first), Stage("b", load=lambda: made[1])]
        with pytest.raises(EndpointError, match="is overloaded"):
            Cascade(stages, Judge((0, 1), 1)).answer("a question")


def test_a_smaller_stage_that_was_left_out_answers_when_the_larger_have_failed() -> None:
    with fallible(Script(fault=faults.html, key=KEY), stream=True) as (_, engine, _):
        small = FakeEngine("small", lambda _: "said by small")
        stages = [Stage("small", load=lambda: small), Stage("faulty", load=lambda: engine)]
        answer = Cascade(stages, Judge((1,), 1)).answer("a question")
    assert (answer.text, answer.stage_index, answer.degraded) == ("said by small", 0, True)
    assert [s.action for s in answer.trace] == [Action.SKIP, Action.SKIP, Action.DRAFT]


@STREAMS
def test_a_prompt_that_is_too_long_is_the_callers_error(stream: bool) -> None:
    said = "This model's maximum context length is 4096 tokens, you asked for 5000."
    script = Script(fault=lambda h, _: h.reply({"error": {"message": said}}, 400), key=KEY)
    with (
        fallible(script, stream=stream) as (_, engine, _),
        pytest.raises(ContextOverflowError, match="maximum context length is 4096"),
    ):
        run(ladder(engine, is_first=False), stream=stream)


@STREAMS
def test_the_key_is_sent_and_never_shown_even_if_the_server_repeats_it(stream: bool) -> None:
    def echo(code: int) -> Fault:
        return lambda handler, _: handler.reply(
            {"error": {"message": f"{'x' * 190} you sent {handler.headers['Authorization']}"}}, code
        )

    for code in (400, 401, 200):
        with (
            fallible(Script(fault=echo(code), key=KEY), stream=stream) as (_, engine, _),
            pytest.raises(EndpointError) as caught,
        ):
            engine.generate([Message("user", "hi")], Sampling(4))
        assert "sk-" not in str(caught.value)
    with (
        fallible(Script(key="another"), stream=stream) as (_, engine, _),
        pytest.raises(EndpointError, match=r"refuses the key \(TINY_KEY\) .*: no such key"),
    ):
        engine.generate([Message("user", "hi")], Sampling(4))


def test_an_endpoint_that_fails_again_and_again_is_left_alone() -> None:
    script = Script(fault=faults.html, key=KEY)
    with fallible(script, stream=True) as (server, engine, _):
        cascade = ladder(engine, is_first=False)
        reasons = [cascade.answer("a question").trace[1].reason for _ in range(8)]
        assert len(server.generations) == 5
    assert all("no JSON" in reason for reason in reasons[:5])
    assert all("failed again and again, so it is not asked" in reason for reason in reasons[5:])
