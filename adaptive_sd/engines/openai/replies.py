"""Documents of chat and completion replies, whole or of a stream, as increments of an answer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from adaptive_sd.engines.openai.faults import Fault

TOP_LOGPROBS = 5
"""Likeliest tokens asked for at each position: evidence of doubt, within what all servers allow."""


_WITHHELD = frozenset({"content_filter", "abort", "error"})
"""Ends that are no end of an answer."""


class Token(NamedTuple):
    """One token of an answer; entropy and margin are None where only its own chance is known."""

    content: bytes
    logprob: float
    entropy: float | None = None
    margin: float | None = None


class Usage(NamedTuple):
    """What the server counted."""

    tokens_in: int
    tokens_out: int
    num_cached: int | None = None


class Delta(NamedTuple):
    """What one document adds. `tokens` is None where the server does not tell them."""

    text: str = ""
    tokens: Sequence[Token] | None = None
    finish: str | None = None
    stop_string: bool = False
    usage: Usage | None = None


def token_of(content: bytes, logprob: float, likeliest: Iterable[float]) -> Token:
    """With the evidence that natural-log probabilities of the likeliest tokens give.

    The entropy counts all other tokens as one, so it is a lower bound; the margin is that of the
    logits of the two likeliest.
    """
    top = sorted(likeliest, reverse=True)
    if len(top) < 2:
        return Token(content, logprob)
    rest = max(0.0, 1.0 - sum(map(math.exp, top)))
    entropy = -sum(math.exp(p) * p for p in top) - (rest * math.log(rest) if rest else 0.0)
    return Token(content, logprob, max(0.0, entropy), top[0] - top[1])


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
