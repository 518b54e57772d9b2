"""A judge gives a score or none; what fails is not graded, and no secret is told."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.data.endpoint import Endpoint
from adaptive_sd.data.grading import Grade
from adaptive_sd.data.judging import RubricJudge, parse_score, rubric_prompt
from adaptive_sd.data.tasks import Task
from adaptive_sd.errors import ConfigError, EngineError
from adaptive_sd.types import Message
from tests.data.endpoint import (
    Script,
    answering,
    closing,
    cut,
    dripping,
    echoing_the_key,
    hanging,
    saying,
    serving,
)

TASK = Task("1", "own", "", "Write a {haiku}.", "", "judge")
KEY = "sk-very-secret"


def judged(script: Script, text: str = "An answer.", timeout_s: float = 10.0) -> Grade:
    with (
        serving(script) as (url, _),
        Endpoint(url, "judge-model", key=KEY, timeout_s=timeout_s) as endpoint,
    ):
        return RubricJudge("judge-model", endpoint.ask).grade(TASK, text)


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        *[(f"Score: {n}", n) for n in range(1, 11)],
        *[(reply, 7) for reply in ("7", "score: 7", "Score: 7/10", "**Score: 7**", " Score:7. ")],
        ("It is short.\n\nScore: 7\n", 7),
    ],
)
def test_a_score_is_a_quality(reply: str, score: int) -> None:
    found = judged(saying(reply))
    assert found.quality == (score - 1) / 9 and found.version.startswith("judge judge-model ")


@pytest.mark.parametrize(
    "reply",
    [
        *("", "Score:", "Score: 0", "Score: 11", "Score: 7.5", "Score: seven", "7 of 10", "-7"),
        *("Score: 7 or 8", "I give it a 7", "Score: 7\nBut wait.", "7 8", "\u0667", "Score: 100"),
    ],
)
def test_any_other_reply_is_no_grade(reply: str) -> None:
    found = judged(saying(reply))
    assert found.quality is None and found.version == "" and "no score" in found.reason


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (answering(f"bad key {KEY}".encode(), 401), "status 401"),
        (answering(b"slow down", 429), "status 429"),
        (answering(b"", 500), "status 500"),
        (answering(b"", 307), "status 307"),
        (answering(b"<html>Welcome</html>"), "no JSON"),
        (answering(b"\xff\xfe"), "no JSON"),
        (answering(b"[" * 100_000), "no JSON"),
        (answering(b'{"choices": []}'), "before it was whole"),
        (answering(b'{"error": {"message": "x"}}'), "failed: x"),
        (answering(b" " * (65 << 20)), "without end"),
        (saying(None), "no score"),
        (saying(["7"]), "no answer"),
        (closing, "broke the connection"),
        (cut, "broke the connection"),
        (echoing_the_key, "no score"),
    ],
)
def test_an_endpoint_that_fails_leaves_the_answer_ungraded(script: Script, why: str) -> None:
    found = judged(script)
    assert found.quality is None and found.version == ""
    assert why in found.reason and KEY not in found.reason and "\n" not in found.reason


@pytest.mark.parametrize("script", [hanging, dripping])
def test_an_endpoint_that_takes_too_long_is_given_up(script: Script) -> None:
    found = judged(script, timeout_s=0.3)
    assert found.quality is None
    assert "longer than 0.3 s" in found.reason


def test_where_nobody_listens_the_answer_is_not_graded() -> None:
    with serving(saying("Score: 5")) as (url, _):
        pass
    with Endpoint(url, "m") as endpoint, pytest.raises(EngineError, match="ConnectError"):
        endpoint.ask([Message("user", "hello")])


def test_the_endpoint_is_asked_as_openai_is() -> None:
    with serving(saying("Score: 5")) as (url, server), Endpoint(url + "/", "m", key=KEY) as found:
        found.ask([Message("user", "hello")])
        ((path, authorization, body),) = server.asked
    assert (path, authorization) == ("/v1/chat/completions", f"Bearer {KEY}")
    assert body["messages"] == [{"role": "user", "content": "hello"}]
    assert (body["model"], body["temperature"]) == ("m", 0)


def test_without_a_key_no_header_is_sent() -> None:
    with serving(saying("Score: 5")) as (url, server), Endpoint(url, "m") as endpoint:
        endpoint.ask([Message("user", "hello")])
        assert server.asked[0][1] is None


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "ftp://host/v1", "http://", "http://[::1", "http://u:p@host/v1"]
)
def test_what_is_no_address_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigError, match="--judge") as caught:
        Endpoint(url, "m")
    assert "u:p" not in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        Endpoint("http://host/v1", "m", key="sk-\u2603")
    assert "sk-" not in str(caught.value)


def test_the_judge_sees_question_answer_and_reference() -> None:
    prompt = rubric_prompt(Task("1", "own", "", "Why {0}?", "So {it} is.", "judge"), "As {x}.")
    assert "Why {0}?" in prompt and "As {x}." in prompt and "So {it} is." in prompt
    assert "reference" not in rubric_prompt(TASK, "An answer.")


@given(st.text() | st.text("Score: 1070/\n*.-"))
def test_any_reply_has_a_score_from_1_to_10_or_none(reply: str) -> None:
    score = parse_score(reply)
    assert score is None or (1 <= score <= 10 and str(score) in reply.splitlines()[-1] + reply)


@given(st.text() | st.text("\ud800\x00{}<>/answer"), st.text(), st.text("\ud800Score: 5\n"))
def test_any_task_answer_and_reply_have_a_grade(prompt: str, text: str, reply: str) -> None:
    def ask(messages: list[Message]) -> str:
        json.dumps([m.content for m in messages]).encode()
        return reply

    found = RubricJudge("m", ask).grade(Task("1", "own", "", prompt, text, "judge"), text)
    assert found.quality is None or 0 <= found.quality <= 1
    found.reason.encode()
