"""Questions over HTTP: read whole or refused in a line; every error has a status."""

from __future__ import annotations

import json

import pytest

from adaptive_sd import errors
from adaptive_sd.distributed.wire import http_status, read_question
from adaptive_sd.request import Request


def test_every_field_of_a_request_can_be_given() -> None:
    whole = Request(1.0, 9, 0.5, 0.9, 3, ("a", "b"), 0.1, 2.0, 4.0, 0.5)
    document = {"lambda": 1.0, "max_tokens": 9, "temperature": 0.5, "top_p": 0.9, "seed": 3}
    document |= {"stop": ["a", "b"], "lenience": 0.1, "max_cost": 2.0, "deadline_s": 4.0}
    document |= {"abstain_below": 0.5}
    chat = [{"role": "user", "content": "Why?"}]
    for prompt in ("Why?", chat):
        assert read_question(json.dumps({"prompt": prompt} | document).encode()) == (prompt, whole)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "an object with a prompt"),
        ({}, "an object with a prompt"),
        ({"prompt": " "}, "empty"),
        ({"prompt": 3}, "text or a list"),
        ({"prompt": [{"role": "x", "content": ""}]}, "role"),
        ({"prompt": "Why?", "lam": 1}, "unknown field 'lam'"),
        ({"prompt": "Why?", "seed": 1.5}, "seed is 1.5"),
        ({"prompt": "Why?", "seed": True}, "seed is True"),
        ({"prompt": "Why?", "max_cost": "1"}, "max_cost is '1'"),
        ({"prompt": "Why?", "max_cost": -1}, "max_cost is -1"),
        ({"prompt": "Why?", "stop": "a"}, "stop is 'a'"),
        ({"prompt": "Why?", "stop": [1]}, "stop is [1]"),
        ({"prompt": "Why?", "stop": ["\ud800"]}, "stop is ['\\ud800']"),
        ({"prompt": "Why?", "deadline_s": 10**400}, "deadline_s is 1000"),
        ({"prompt": "Why?", "max_cost": 10**400}, "max_cost is 1000"),
        ({"prompt": "Why?", "lambda": True}, "lambda is True"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_line(document: object, said: str) -> None:
    with pytest.raises(errors.ConfigError) as told:
        read_question(json.dumps(document).encode())
    assert said in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize("body", [b"[" * 200_000, b'{"prompt": ' * 200_000, b"\xff", b"9" * 9999])
def test_what_is_no_json_is_refused_in_a_line(body: bytes) -> None:
    with pytest.raises(errors.ConfigError, match=r"the body is no JSON \(.*\)\.$"):
        read_question(body)


def test_errors_have_the_status_of_their_nearest_class() -> None:
    assert http_status(errors.ConfigError("")) == 400
    assert http_status(errors.EndpointTimeoutError("")) == 504
    assert http_status(errors.EndpointError("")) == 502
    assert http_status(errors.QueueFullError("")) == 503
    assert http_status(errors.EngineClosedError("")) == 500
