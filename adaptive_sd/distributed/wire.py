"""A question and its errors as HTTP has them."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

from adaptive_sd.errors import (
    AdaptiveSDError,
    CancelledError,
    ConfigError,
    ContextOverflowError,
    EndpointError,
    EndpointTimeoutError,
    QueueFullError,
)
from adaptive_sd.prompt import Prompt, to_messages
from adaptive_sd.request import Request

_STATUS: dict[type[AdaptiveSDError], int] = {
    ConfigError: 400,
    ContextOverflowError: 400,
    CancelledError: 499,
    EndpointError: 502,
    QueueFullError: 503,
    EndpointTimeoutError: 504,
}
_WHOLE = ("max_tokens", "seed")
_FIELDS = tuple("lambda" if f.name == "lam" else f.name for f in fields(Request))


def http_status(error: AdaptiveSDError) -> int:
    """Of the nearest class that has one."""
    return next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)


def read_question(body: bytes) -> tuple[Prompt, Request]:
    """A JSON object with `prompt` (a text, or messages) and fields of Request, `lambda` as such.

    Raises ConfigError.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the body is no JSON ({error}).") from error
    if not isinstance(document, dict) or "prompt" not in document:
        raise ConfigError('the body must be an object with a prompt: {"prompt": "..."}.')
    prompt = document.pop("prompt")
    if isinstance(prompt, str) and not prompt.strip():
        raise ConfigError("the prompt is empty; write a question.")
    to_messages(prompt)
    given = {name: _value(name, value) for name, value in document.items()}
    if "lambda" in given:
        given["lam"] = given.pop("lambda")
    return prompt, Request(**given)


def _value(name: str, value: Any) -> Any:
    if name not in _FIELDS:
        raise ConfigError(f"unknown field {name!r}; known: prompt, {', '.join(_FIELDS)}.")
    try:
        return _typed(name, value)
    except (TypeError, ValueError, OverflowError) as error:  # of Unicode too
        raise ConfigError(f"{name} is {value!r:.60}; that is no value for it.") from error


def _typed(name: str, value: Any) -> Any:
    """Raises TypeError, ValueError and OverflowError."""
    if name == "stop":
        return tuple(_text(each) for each in _checked(value, list))
    if name in _WHOLE:
        return _checked(value, int)
    return float(_checked(value, int, float))


def _text(value: Any) -> Any:
    _checked(value, str).encode()
    return value


def _checked(value: Any, *kinds: type) -> Any:
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise TypeError
    return value
