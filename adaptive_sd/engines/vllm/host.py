"""A model that vLLM runs in this process's care: chats, completions and verified drafts."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from adaptive_sd.engines.alignment import DraftTokens
from adaptive_sd.engines.chat import ChatFormat
from adaptive_sd.engines.drafts import draft_tokens
from adaptive_sd.engines.hosted.asking import Push
from adaptive_sd.engines.hosted.deltas import TOP_LOGPROBS, Delta, Token, Usage, token_of
from adaptive_sd.engines.hosted.verifying import Checked, Failure, Row, accept
from adaptive_sd.engines.vocabulary import Vocabulary
from adaptive_sd.errors import ContextOverflowError, EngineError
from adaptive_sd.types import Message, Offer, Sampling


class VllmFailure(Failure):
    """With the kind of error that it is to whoever asked."""

    def __init__(self, text: str, error: type[EngineError] = EngineError) -> None:
        super().__init__(text)
        self.error = error


class VllmHost:
    """See adaptive_sd.engines.hosted.asking.Host, whose verifier it is too: Verifier.

    Used on one event loop. Raises VllmFailure.
    """

    why_not = ""

    def __init__(self, llm: Any, vocabulary: Vocabulary, context: int) -> None:
        """Of vLLM's AsyncLLM."""
        self._llm = llm
        self._vocabulary = vocabulary
        self._context = context
        self._chat = ChatFormat(vocabulary)
        self._numbers = itertools.count()

    @property
    def verifier(self) -> VllmHost:
        return self

    async def chat(self, messages: Sequence[Message], sampling: Sampling, push: Push) -> None:
        await self.go_on(await self.prompt(messages), sampling, push)

    async def go_on(self, token_ids: Sequence[int], sampling: Sampling, push: Push) -> None:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        drawn = {"top_p": sampling.top_p, "seed": sampling.seed} if sampling.temperature else {}
        params = SamplingParams(
            max_tokens=min(sampling.max_tokens, self._context - len(token_ids)),
            temperature=sampling.temperature,
            stop=list(sampling.stop),
            logprobs=TOP_LOGPROBS,
            output_kind=RequestOutputKind.DELTA,
            **drawn,
        )
        num_out = 0
        async for output in self._outputs(token_ids, params):
            (made,) = output.outputs
            num_out += len(made.token_ids)
            push(
                Delta(
                    text=made.text,
                    tokens=[*map(self._token, made.token_ids, made.logprobs or ())],
                    finish=made.finish_reason,
                    stop_string=isinstance(made.stop_reason, str),
                    usage=Usage(len(token_ids), num_out, output.num_cached_tokens),
                )
            )

    async def prompt(self, messages: Sequence[Message]) -> list[int]:
        """The tokens of a chat, with room for one more."""
        try:
            tokens = self._chat.tokens(messages)
        except EngineError as error:
            raise VllmFailure(f"cannot be asked: {error}") from error
        if len(tokens) >= self._context:
            text = (
                f"cannot take the prompt: it has {len(tokens)} tokens, the context {self._context}"
            )
            raise VllmFailure(f"{text}; shorten it or set a larger `context`", ContextOverflowError)
        return tokens

    async def draft(self, offer: Offer) -> DraftTokens:
        return draft_tokens(self._vocabulary, replace(offer, ended=False))

    async def text(self, token_ids: Sequence[int]) -> str:
        return b"".join(map(self._vocabulary.piece, token_ids)).decode(errors="replace")

    async def check(
        self, prompt: Sequence[int], drafted: Sequence[int], lenience: float
    ) -> Checked:
        """By the log-probabilities and ranks of the prompt's tokens.

        vLLM does not read its prefix cache for them, but fills it: what follows finds it there.
        """
        from vllm import SamplingParams

        if len(prompt) + len(drafted) >= self._context:
            raise VllmFailure("has no room for the draft in its context")
        params = SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=TOP_LOGPROBS)
        async for output in self._outputs([*prompt, *drafted], params):
            rows = output.prompt_logprobs[len(prompt) :]
            (made,) = output.outputs
        accepted = accept(map(self._row, drafted, rows), lenience)
        ended = made.finish_reason == "stop" and len(accepted) == len(drafted)
        return Checked(accepted, ended)

    def _row(self, token: int, row: Any) -> Row:
        chosen = row[token]
        likeliest = [entry.logprob for entry in row.values()]
        piece = self._vocabulary.piece(token)
        return Row(piece, chosen.logprob, chosen.rank == 1, likeliest, token)

    def _token(self, token: int, row: Any) -> Token:
        likeliest = [entry.logprob for entry in row.values()]
        return token_of(self._vocabulary.piece(token), row[token].logprob, likeliest, token)

    async def _outputs(self, token_ids: Sequence[int], params: Any) -> AsyncIterator[Any]:
        """vLLM's, of one request, which ends with whoever reads them."""
        from vllm.exceptions import VLLMError

        asked = self._llm.generate(
            {"prompt_token_ids": list(token_ids)}, params, f"request-{next(self._numbers)}"
        )
        try:
            async with aclosing(asked) as outputs:
                async for output in outputs:
                    yield output
        except (VLLMError, ValueError) as error:
            raise VllmFailure(f"failed: {error}") from error
