"""The engine of served models: any OpenAI-compatible endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from adaptive_sd.engines.alignment import DraftTokens
from adaptive_sd.engines.base import EngineInfo
from adaptive_sd.engines.hosted.deltas import Delta
from adaptive_sd.engines.hosted.engine import HostedEngine
from adaptive_sd.engines.hosted.speed import measure_rates
from adaptive_sd.engines.openai.abilities import EXTENDED, Abilities, find_abilities
from adaptive_sd.engines.openai.client import Client
from adaptive_sd.engines.openai.dialect import Dialect
from adaptive_sd.engines.openai.faults import Fault
from adaptive_sd.engines.openai.host import EndpointHost
from adaptive_sd.engines.openai.options import EndpointOptions
from adaptive_sd.engines.openai.replies import parse_reply
from adaptive_sd.errors import EngineError
from adaptive_sd.types import (
    Message,
    Offer,
    Rates,
    Sampling,
)

T = TypeVar("T")

_MOST_NAMED = 8


class OpenAIEngine(HostedEngine):
    """Asks one model of one endpoint. Connections are kept; requests run side by side."""

    def __init__(
        self,
        options: EndpointOptions,
        *,
        key: str = "",
        num_parameters: int = 0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """What the server can do is found out now, or with a later request if it is not there."""
        super().__init__("openai", options.model)
        self._options = options
        self._key = key
        self._num_parameters = num_parameters
        self._client = Client(options, key, sleep=sleep)
        self._dialect = Dialect(options)
        self._abilities: Abilities | None = None
        with suppress(Fault):  # a request will say so
            self._find_abilities()

    @property
    def info(self) -> EngineInfo:
        abilities = self._abilities or Abilities()
        return EngineInfo(
            engine="openai",
            engine_version=f"{abilities.kind} {abilities.version}".strip(),
            model=self._options.model,
            model_hash=self._options.model_hash,
            num_parameters=self._num_parameters,
            context=abilities.context,
            hidden_width=0,
        )

    @property
    def abilities(self) -> Abilities:
        """Raises EndpointError where the server cannot be reached."""
        try:
            return self._find_abilities()
        except Fault as fault:
            raise self._public(fault) from fault

    def _host(self) -> EndpointHost:
        return EndpointHost(self._client, self._dialect, self._find_abilities())

    def _guard(self, work: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        return self._client.guarded(work)

    def prompt_tokens(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """See Engine.prompt_tokens; none where the server has no tokenizer for us."""
        verifier = self.abilities.verifier
        return () if verifier is None else tuple(self._run(verifier.prompt(messages)))

    def draft_tokens(self, draft: Offer) -> DraftTokens:
        """None: nothing tells which of them the server's answers would have matched."""
        return DraftTokens()

    def token_ends(self, token_ids: Sequence[int]) -> tuple[int, ...]:
        """None: the ids of answers are not the server's."""
        return ()

    def num_cached(self, messages: Sequence[Message]) -> int | None:
        """Tokens of a prompt that the server finds again when it is sent twice, if it tells."""

        async def ask_twice() -> int | None:
            body = self._dialect.chat(messages, Sampling(max_tokens=1))
            found: list[Delta] = []
            for _ in range(2):
                await self._client.ask(
                    "/chat/completions",
                    body,
                    lambda document: found.append(parse_reply(document)),
                    wait_s=self._options.first_byte_s,
                )
            counted = [delta.usage for delta in found if delta.usage is not None]
            return counted[-1].num_cached if counted else None

        return self._run(ask_twice())

    def measure_rates(self) -> Rates:
        """See Engine.measure_rates: seconds of answers that come alone, the way there included."""
        return measure_rates(self.generate, self.abilities.context)

    def _end(self) -> None:
        self._loop.run(self._client.aclose)
        self._loop.close()

    def _find_abilities(self) -> Abilities:
        with self._lock:
            if self._abilities is None:
                work = partial(find_abilities, self._client, self._options)
                self._abilities = self._loop.run(lambda: self._client.guarded(work()))
            self._dialect.is_extended = self._abilities.kind in EXTENDED
            return self._abilities

    def _public(self, fault: Fault) -> EngineError:
        """Ours; of a model that is not there with those that are."""
        if fault.status == 404 and self._abilities is not None and self._abilities.models:
            fault.text += f" It serves {', '.join(self._abilities.models[:_MOST_NAMED])}."
        return fault.public(self._options, self._key)
