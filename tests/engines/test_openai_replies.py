"""Foreign errors and documents, each as one of ours."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.engines.hosted.deltas import Delta, Usage, token_of
from adaptive_sd.engines.openai.faults import Fault, fault_of, message_of, refusal
from adaptive_sd.engines.openai.options import EndpointOptions
from adaptive_sd.engines.openai.replies import parse_reply
from adaptive_sd.errors import EndpointError

OPTIONS = EndpointOptions("http://127.0.0.1:1/v1", "m")


def all_of(base: type[Exception]) -> list[type[Exception]]:
    found = [base]
    for kind in base.__subclasses__():
        found += all_of(kind)
    return found


@pytest.mark.parametrize(
    "kind", dict.fromkeys([*all_of(httpx2.HTTPError), *all_of(httpx2.StreamError)])
)
def test_every_error_of_the_http_library_is_mapped(kind: type[Exception]) -> None:
    error = kind.__new__(kind)
    fault = fault_of(error)
    public = fault.public(OPTIONS, "")
    assert isinstance(public, EndpointError)
    assert str(public).startswith("http://127.0.0.1:1/v1, m: ") and kind.__name__ in str(public)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"error": {"message": "a\nb", "type": "x", "code": 4}}, "a b"),
        ({"error": "in a string"}, "in a string"),
        ({"message": "at the top", "object": "error"}, "at the top"),
        ({"detail": "Not Found"}, "Not Found"),
        ({"error": {}}, ""),
        ({"other": 1}, ""),
        ([], ""),
        (7, ""),
    ],
)
def test_the_message_is_found_in_the_usual_shapes(document: object, said: str) -> None:
    assert message_of(json.dumps(document).encode()) == said
    assert message_of(b"\xff<html>") == ""


@pytest.mark.parametrize("status", [300, 301, 400, 404, 408, 409, 418, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again_and_what_the_server_did_is_counted(status: int) -> None:
    fault = refusal(status, {}, b"", OPTIONS)
    assert fault.is_passing is (status in (408, 429, 500, 502, 503, 504))
    assert fault.blames is (status >= 500 or status == 408)
    assert not refusal(status, {"x-should-retry": "false"}, b"", OPTIONS).is_passing


KEYS = st.sampled_from(
    [
        "choices",
        "delta",
        "message",
        "content",
        "text",
        "logprobs",
        "usage",
        "finish_reason",
        "prompt_tokens",
        "tokens",
        "completion_tokens",
        "token_logprobs",
        "top_logprobs",
        "token",
        "logprob",
        "bytes",
        "stop_reason",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(JSON | st.fixed_dictionaries({"choices": st.lists(st.dictionaries(KEYS, JSON))}))
def test_any_document_is_a_delta_or_a_fault(document: Any) -> None:
    try:
        delta = parse_reply(document)
    except Fault as fault:
        assert fault.text
    else:
        assert isinstance(delta, Delta) and isinstance(delta.text, str)
        assert delta.finish is None or isinstance(delta.finish, str)
        assert all(token.logprob <= 0 for token in delta.tokens or ())


def test_an_answer_that_was_withheld_is_a_fault() -> None:
    for reason in ("content_filter", "abort", "error"):
        choice = {"delta": {"content": "x"}, "finish_reason": reason}
        with pytest.raises(Fault, match=reason):
            parse_reply({"choices": [choice]})


def test_usage_comes_with_what_was_cached() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 2}
    assert parse_reply({"choices": [], "usage": usage}).usage == Usage(9, 2)
    told = usage | {"prompt_tokens_details": {"cached_tokens": 8}}
    assert parse_reply({"choices": [], "usage": told}).usage == Usage(9, 2, 8)


def test_the_forms_of_chats_and_completions_say_the_same() -> None:
    chat = {
        "token": "a",
        "bytes": [97],
        "logprob": -0.5,
        "top_logprobs": [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -2.0}],
    }
    completion = {
        "tokens": ["a"],
        "token_logprobs": [-0.5],
        "top_logprobs": [{"a": -0.5, "b": -2.0}],
    }
    forms = [
        {"choices": [{"message": {"content": "a"}, "logprobs": {"content": [chat]}}]},
        {"choices": [{"delta": {"content": "a"}, "logprobs": {"content": [chat]}}]},
        {"choices": [{"text": "a", "logprobs": completion}]},
    ]
    (delta, *others) = map(parse_reply, forms)
    assert [list(o.tokens or ()) for o in others] == [list(delta.tokens or ())] * 2
    assert delta.tokens == [token_of(b"a", -0.5, [-2.0, -0.5])]
    assert delta.tokens[0].margin == 1.5


@pytest.mark.parametrize("logprob", [None, "x", float("nan"), float("-inf"), 0.5, True])
def test_a_chance_that_is_none_leaves_the_evidence_out(logprob: object) -> None:
    entry = {"token": "a", "bytes": [97], "logprob": logprob, "top_logprobs": []}
    choice = {"delta": {"content": "a"}, "logprobs": {"content": [entry]}}
    delta = parse_reply({"choices": [choice]})
    assert delta.text == "a" and delta.tokens is None
