"""Asks a model behind an OpenAI-compatible endpoint one question at a time."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict

import httpx2

from adaptive_sd.closing import Closing
from adaptive_sd.errors import ConfigError, EngineError
from adaptive_sd.types import Message

_MAX_BYTES = 1 << 20
_MAX_TOKENS = 1024


class Endpoint(Closing):
    """POST {base_url}/chat/completions, greedy; its errors never show the key or what was sent."""

    def __init__(
        self, base_url: str, model: str, *, key: str | None = None, timeout_s: float = 120.0
    ) -> None:
        """`timeout_s` bounds a whole answer. Raises ConfigError for what is no HTTP address."""
        try:
            url = httpx2.URL(base_url)
        except (httpx2.InvalidURL, TypeError) as error:
            raise ConfigError("--judge: not an address; write http://host:port/v1.") from error
        if url.scheme not in ("http", "https") or not url.host or url.userinfo:
            raise ConfigError("--judge: write http://host:port/v1, without a user or password.")
        self._url = base_url.rstrip("/") + "/chat/completions"
        self._model = model
        self._timeout_s = timeout_s
        self._key = key
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            self._client = httpx2.Client(headers=headers, timeout=timeout_s)
        except (ValueError, UnicodeError) as error:
            raise ConfigError("the endpoint's key has characters that no header takes.") from error

    def ask(self, messages: Sequence[Message]) -> str:
        """The reply's text. Raises EngineError in one line."""
        body = {
            "model": self._model,
            "messages": [asdict(message) for message in messages],
            "temperature": 0,
            "max_tokens": _MAX_TOKENS,
        }
        try:
            raw = json.loads(self._post(json.dumps(body).encode()))
            text = raw["choices"][0]["message"]["content"]
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
            raise EngineError(f"the endpoint failed ({type(error).__name__})") from error
        except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
            raise EngineError("the endpoint's reply is no chat completion") from error
        if not isinstance(text, str):
            raise EngineError("the endpoint's reply has no text")
        return text.replace(self._key, "...") if self._key else text

    def _post(self, body: bytes) -> bytes:
        """At most _MAX_BYTES, within the time-out as a whole: a slow drip ends too."""
        deadline_s = time.monotonic() + self._timeout_s
        headers = {"Content-Type": "application/json"}
        with self._client.stream("POST", self._url, content=body, headers=headers) as response:
            if response.status_code != 200:
                raise EngineError(f"the endpoint answered with status {response.status_code}")
            received = bytearray()
            for piece in response.iter_bytes():
                received += piece
                if time.monotonic() > deadline_s:
                    raise EngineError(f"the endpoint took longer than {self._timeout_s:g} s")
                if len(received) > _MAX_BYTES:
                    raise EngineError("the endpoint's reply is too long")
        return bytes(received)

    def close(self) -> None:
        self._client.close()
