"""Requests to one endpoint: pooled connections, time-outs, retries before the first byte."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import httpx2

from adaptive_sd.engines.openai.breaker import Breaker
from adaptive_sd.engines.openai.faults import (
    Fault,
    fault_of,
    refusal,
    said_in,
    too_late,
)
from adaptive_sd.engines.openai.options import EndpointOptions
from adaptive_sd.engines.openai.retries import RetryBudget, backoff_s

T = TypeVar("T")
Take = Callable[[Any], None]
"""Takes one document of a reply; raises Fault for one that it cannot use."""

_MAX_BYTES = 64 << 20
_MAX_ERROR_BYTES = 64 << 10
_LIMITS = httpx2.Limits(max_connections=128, max_keepalive_connections=32, keepalive_expiry=30)


class Client:
    """Used by one event loop. Every error of its coroutines is a Fault."""

    def __init__(
        self,
        options: EndpointOptions,
        key: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: random.Random | None = None,
    ) -> None:
        self._options = options
        self._key = key
        self._sleep = sleep
        self._rng = rng or random.Random()
        self._breaker = Breaker(clock)
        self._budget = RetryBudget()
        # what is read is bounded as it comes: compressed it would not be
        headers = {"Accept-Encoding": "identity", "User-Agent": "adaptive-sd"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        timeout = httpx2.Timeout(None, connect=options.connect_s, write=options.first_byte_s)
        self._http = httpx2.AsyncClient(headers=headers, timeout=timeout, limits=_LIMITS)

    async def guarded(self, work: Coroutine[Any, Any, T]) -> T:
        """All requests of one answer, in its whole time, unless the endpoint is left alone.

        Raises Fault.
        """
        wait_s = self._breaker.wait_s()
        if wait_s:
            work.close()
            text = f"failed again and again, so it is not asked for another {wait_s:.0f} s"
            raise Fault(text, blames=False)
        try:
            async with asyncio.timeout(self._options.whole_s):
                result = await work
        except TimeoutError:
            self._breaker.failed()
            raise too_late(f"took longer than {self._options.whole_s:g} s") from None
        except Fault as fault:
            if fault.blames:
                self._breaker.failed()
            else:
                self._breaker.undecided()
            raise
        except BaseException:  # cancelled: our own end of it
            self._breaker.undecided()
            raise
        self._breaker.succeeded()
        return result

    async def fetch(self, path: str, body: object = None, *, at_root: bool = False) -> Any:
        """The one document of a quick reply: of a POST where there is a body."""
        documents: list[Any] = []
        await self.ask(
            path, body, documents.append, wait_s=self._options.first_byte_s, at_root=at_root
        )
        return documents[0]

    async def ask(
        self, path: str, body: object, take: Take, *, wait_s: float | None, at_root: bool = False
    ) -> None:
        """Have `take` see every document of the reply: each event's, or the only one.

        The first byte of its content has to come within `wait_s`.
        """
        base = self._options.root_url if at_root else self._options.base_url.rstrip("/")
        self._budget.earn()
        tries = 0
        while True:
            tries += 1
            begun = _Begun()
            try:
                return await self._try(base + path, body, take, begun, wait_s)
            except Fault as fault:
                pause_s = backoff_s(tries, fault.asked_s, self._rng)
                if begun.is_set or not fault.is_passing or pause_s is None:
                    raise
                if not self._budget.spend():
                    raise
            await self._sleep(pause_s)

    async def _try(
        self, url: str, body: object, take: Take, begun: _Begun, wait_s: float | None
    ) -> None:
        content = None if body is None else json.dumps(body).encode()
        headers = {} if content is None else {"Content-Type": "application/json"}
        request = self._http.build_request(
            "GET" if content is None else "POST", url, content=content, headers=headers
        )
        try:
            async with asyncio.timeout(wait_s) as first:
                response = await self._http.send(request, stream=True)
                try:
                    if not response.is_success:
                        await self._refuse(response)
                    elif _is_event_stream(response):
                        await self._take_events(response, take, begun, first)
                    else:
                        take(await self._document(response, begun, first))
                finally:
                    await response.aclose()
        except TimeoutError:
            raise too_late(f"sent nothing of its answer within {wait_s:g} s") from None
        except (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL) as error:
            raise fault_of(error) from error

    async def _take_events(
        self,
        response: httpx2.Response,
        take: Take,
        begun: _Begun,
        first: asyncio.Timeout,
    ) -> None:
        num_bytes = 0
        async for event in httpx2.EventSource(response):
            begun.set(first)
            num_bytes += len(event.data)
            if num_bytes > _MAX_BYTES:
                raise Fault("sent an answer without end")
            if event.data and event.data.strip() != "[DONE]":
                take(self._parse(event.data))

    async def _document(
        self, response: httpx2.Response, begun: _Begun, first: asyncio.Timeout
    ) -> Any:
        raw = await _read(response, _MAX_BYTES, lambda: begun.set(first))
        return self._parse(raw.decode("utf-8", errors="replace"))

    def _parse(self, text: str) -> Any:
        """A document without our key, should the server have repeated it."""
        if self._key:
            text = text.replace(self._key, "...")
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Fault("sent what is no JSON") from error
        if isinstance(document, dict) and "error" in document and document["error"]:
            raise Fault(f"failed: {said_in(document)}")
        return document

    async def _refuse(self, response: httpx2.Response) -> None:
        body = await _read(response, _MAX_ERROR_BYTES, lambda: None)
        if self._key:
            body = body.replace(self._key.encode(), b"...")
        raise refusal(response.status_code, response.headers, body, self._options)

    async def aclose(self) -> None:
        await self._http.aclose()


class _Begun:
    """Whether anything of the reply's content has come."""

    def __init__(self) -> None:
        self.is_set = False

    def set(self, first: asyncio.Timeout) -> None:
        """It has: the wait for it is over."""
        if not self.is_set:
            self.is_set = True
            first.reschedule(None)


def _is_event_stream(response: httpx2.Response) -> bool:
    kind = response.headers.get("content-type", "").partition(";")[0]
    return bool(kind.strip().lower() == "text/event-stream")


async def _read(response: httpx2.Response, most: int, on_bytes: Callable[[], None]) -> bytes:
    """Raises Fault for more than `most` bytes."""
    received = bytearray()
    async for piece in response.aiter_bytes():
        on_bytes()
        received += piece
        if len(received) > most:
            raise Fault("sent an answer without end")
    return bytes(received)
