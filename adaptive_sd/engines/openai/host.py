"""An endpoint as the host of one model: its chats and completions, streamed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from adaptive_sd.engines.hosted.asking import Push
from adaptive_sd.engines.hosted.verifying import Verifier
from adaptive_sd.engines.openai.abilities import Abilities
from adaptive_sd.engines.openai.client import Client
from adaptive_sd.engines.openai.dialect import Dialect
from adaptive_sd.engines.openai.faults import Fault
from adaptive_sd.engines.openai.replies import parse_reply
from adaptive_sd.types import Message, Sampling


class EndpointHost:
    """See adaptive_sd.engines.hosted.asking.Host; raises Fault."""

    def __init__(self, client: Client, dialect: Dialect, abilities: Abilities) -> None:
        self._client = client
        self._dialect = dialect
        self.verifier: Verifier | None = abilities.verifier
        self.why_not = abilities.why_not
        self._context = abilities.context

    async def chat(self, messages: Sequence[Message], sampling: Sampling, push: Push) -> None:
        await self._generate(
            "/chat/completions", push, lambda: self._dialect.chat(messages, self._fitting(sampling))
        )

    async def go_on(self, token_ids: Sequence[int], sampling: Sampling, push: Push) -> None:
        await self._generate(
            "/completions",
            push,
            lambda: self._dialect.completion(token_ids, self._fitting(sampling)),
        )

    def _fitting(self, sampling: Sampling) -> Sampling:
        """Of no more tokens than the context: servers refuse that, and end earlier ones in it."""
        most = self._context or sampling.max_tokens
        return replace(sampling, max_tokens=min(sampling.max_tokens, most))

    async def _generate(self, path: str, push: Push, body: Callable[[], dict[str, Any]]) -> None:
        is_whole = False

        def take(document: Any) -> None:
            nonlocal is_whole
            delta = parse_reply(document)
            is_whole = is_whole or delta.finish is not None
            push(delta)

        try:
            await self._client.ask(path, body(), take, wait_s=self._dialect.first_byte_s)
        except Fault as fault:
            if not self._dialect.learn(fault):
                raise
            return await self._generate(path, push, body)
        if not is_whole:
            raise Fault("ended its answer before it was whole")
