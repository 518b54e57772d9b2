"""What went wrong between us and a server: foreign errors become one of ours here."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import httpx2

from adaptive_sd.engines.hosted.verifying import Failure
from adaptive_sd.engines.openai.options import EndpointOptions
from adaptive_sd.engines.openai.retries import asked_wait_s
from adaptive_sd.errors import (
    ContextOverflowError,
    EndpointError,
    EndpointTimeoutError,
    EngineError,
)

_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_TOO_LONG = re.compile(r"context.?(length|size|window)", re.IGNORECASE)
_MOST_SHOWN = 200

_LOST = "broke the connection"
_CAUSES: tuple[tuple[type[Exception], str, bool], ...] = (
    (httpx2.ConnectTimeout, "takes no connection in time", True),
    (httpx2.ConnectError, "cannot be reached", True),
    (httpx2.ProxyError, "cannot be reached through the proxy", True),
    (httpx2.PoolTimeout, "has too many of our requests at once", False),
    (httpx2.TimeoutException, "takes no data in time", True),
    (httpx2.NetworkError, _LOST, True),
    (httpx2.RemoteProtocolError, _LOST, True),
    (httpx2.DecodingError, "sent what cannot be decoded", False),
    (httpx2.StreamError, _LOST, False),
    (httpx2.HTTPError, "cannot be asked", False),
    (httpx2.InvalidURL, "cannot be asked", False),
)
"""The nearest class's words, the first that fits, and whether trying again may help."""


class Fault(Failure):
    """A request to an endpoint failed.

    `status` is an answer's, `is_passing` whether trying again may help, `asked_s` how long the
    server asked to wait. `blames` the endpoint: then it counts towards leaving it alone.
    """

    def __init__(
        self,
        text: str,
        *,
        status: int | None = None,
        is_passing: bool = False,
        asked_s: float | None = None,
        blames: bool = True,
        error: type[EngineError] = EndpointError,
    ) -> None:
        super().__init__(text)
        self.status = status
        self.is_passing = is_passing
        self.asked_s = asked_s
        self.blames = blames
        self._error = error

    def public(self, options: EndpointOptions, key: str) -> EngineError:
        """Ours, in one line, without the key."""
        text = f"{options.base_url}, {options.model}: {self.text}"
        return self._error(" ".join((text.replace(key, "...") if key else text).split()))


def too_late(text: str) -> Fault:
    """Not tried again: the server may still be at work on it."""
    return Fault(text, error=EndpointTimeoutError)


def fault_of(error: Exception) -> Fault:
    """Of an error of the HTTP library."""
    words, is_passing = next((w, p) for cls, w, p in _CAUSES if isinstance(error, cls))
    return Fault(f"{words} ({type(error).__name__})", is_passing=is_passing)


def refusal(
    status: int, headers: Mapping[str, str], body: bytes, options: EndpointOptions
) -> Fault:
    """Of an answer with a status that is no success."""
    said = message_of(body)
    if status in (400, 413, 422) and _TOO_LONG.search(said):
        text = f"the prompt does not fit its context: {said}"
        return Fault(text, status=status, blames=False, error=ContextOverflowError)
    hints = {
        401: f"refuses the key ({_key_place(options)})",
        403: f"refuses the key ({_key_place(options)})",
        404: "has no such model or path",
        429: "is asked too often",
        503: "is overloaded or not ready",
    }
    text = (
        f"{hints.get(status, 'refuses the request')} (status {status}){': ' if said else ''}{said}"
    )
    is_passing = status in _PASSING and headers.get("x-should-retry") != "false"
    return Fault(
        text,
        status=status,
        is_passing=is_passing,
        asked_s=asked_wait_s(headers),
        blames=status >= 500 or status == 408,
    )


def message_of(body: bytes) -> str:
    """What an error's document says, in whatever of the usual shapes; "" for others."""
    try:
        return said_in(json.loads(body))
    except (ValueError, RecursionError):
        return ""


def said_in(document: Any) -> str:
    """The message of an error's document."""
    found = document.get("error", document) if isinstance(document, dict) else ""
    if isinstance(found, dict):
        found = found.get("message") or found.get("detail") or ""
    return " ".join(str(found).split())[:_MOST_SHOWN]


def _key_place(options: EndpointOptions) -> str:
    return options.api_key_env or options.api_key_file or "api_key_env is not set"
