"""Documents of chat and completion replies, whole or of a stream, as increments of an answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from adaptive_sd.engines.hosted.deltas import Delta, Token, Usage, token_of
from adaptive_sd.engines.openai.faults import Fault

_WITHHELD = frozenset({"content_filter", "abort", "error"})
"""Ends that are no end of an answer."""


def parse_reply(document: Any) -> Delta:
    """Raises Fault for what is no reply to a chat or completion."""
    try:
        usage = _usage(document.get("usage"))
        if document["choices"] == []:
            return Delta(usage=usage)
        choice = document["choices"][0]
        # of a reply that came whole nobody has to say that it has ended
        finish = choice.get("finish_reason", "stop" if "message" in choice else None)
        if not isinstance(finish, str | None):
            raise TypeError("no reason")
        said = choice.get("delta") or choice.get("message") or choice
        text = said.get("content", said.get("text"))
        if not isinstance(text, str | None):
            raise TypeError("no text")
        delta = Delta(
            text=text or "",
            tokens=_tokens(choice.get("logprobs")),
            finish=finish,
            stop_string=isinstance(choice.get("stop_reason", choice.get("matched_stop")), str),
            usage=usage,
        )
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise Fault("sent JSON that is no answer") from error
    if finish in _WITHHELD:
        raise Fault(f"gave no whole answer ({finish})", blames=False)
    return delta


def _usage(raw: Any) -> Usage | None:
    """None where it is missing or no counts."""
    if not isinstance(raw, Mapping):
        return None
    tokens_in, tokens_out = raw.get("prompt_tokens"), raw.get("completion_tokens")
    if not isinstance(tokens_in, int) or not isinstance(tokens_out, int):
        return None
    details = raw.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, Mapping) else None
    return Usage(tokens_in, tokens_out, cached if isinstance(cached, int) else None)


def _tokens(raw: Any) -> list[Token] | None:
    """In the form of chats or of completions; None where any has no chance."""
    if not isinstance(raw, Mapping):
        return None
    try:
        if raw.get("content") is not None:
            return [_chat_token(entry) for entry in raw["content"]]
        if not raw.get("tokens"):
            return None
        tops = raw.get("top_logprobs") or [None] * len(raw["tokens"])
        rows = zip(raw["tokens"], raw["token_logprobs"], tops, strict=True)
        return [
            token_of(text.encode(), _chance(logprob), map(_chance, (top or {}).values()))
            for text, logprob, top in rows
        ]
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _chat_token(entry: Mapping[str, Any]) -> Token:
    raw = entry.get("bytes")
    content = entry["token"].encode() if raw is None else bytes(raw)
    likeliest = [_chance(top["logprob"]) for top in entry.get("top_logprobs") or ()]
    return token_of(content, _chance(entry["logprob"]), likeliest)


def _chance(value: Any) -> float:
    """A natural-log probability; raises ValueError for what is none."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not -math.inf < value <= 0.01
    ):
        raise ValueError(f"{value!r} is no log-probability")
    return min(float(value), 0.0)
