"""How vLLM and SGLang verify a draft: one request that reads it, each in its own interface."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from adaptive_sd.engines.alignment import DraftTokens, surety_of
from adaptive_sd.engines.hosted.deltas import TOP_LOGPROBS
from adaptive_sd.engines.hosted.verifying import Checked, Row, accept
from adaptive_sd.engines.openai.client import Client
from adaptive_sd.engines.openai.dialect import NEUTRAL, turns_of
from adaptive_sd.engines.openai.faults import Fault
from adaptive_sd.engines.openai.options import EndpointOptions
from adaptive_sd.types import Message, Offer

_UNKNOWN = surety_of(math.nan)
"""How sure the drafting stage was of tokens that are another tokenizer's."""


class _Tokenizer:
    """What both servers share, but for the name of a text."""

    text_key = ""

    def __init__(self, client: Client, options: EndpointOptions) -> None:
        self._client = client
        self._model = options.model
        self._template = options.template

    async def prompt(self, messages: Sequence[Message]) -> list[int]:
        return await self._tokenize(turns_of(messages) | self._template)

    async def draft(self, offer: Offer) -> DraftTokens:
        body = {"prompt": offer.text, "add_special_tokens": False}
        tokens = await self._tokenize(body)
        return DraftTokens(tuple(tokens), (_UNKNOWN,) * len(tokens))

    async def text(self, token_ids: Sequence[int]) -> str:
        found = await self._fetch("/detokenize", {"tokens": list(token_ids)})
        text = found.get(self.text_key) if isinstance(found, Mapping) else None
        if not isinstance(text, str):
            raise Fault("detokenizes to what is no text")
        return text

    async def _tokenize(self, body: dict[str, Any]) -> list[int]:
        found = await self._fetch("/tokenize", body)
        tokens = found.get("tokens") if isinstance(found, Mapping) else None
        if not isinstance(tokens, list) or not all(isinstance(t, int) for t in tokens):
            raise Fault("tokenizes to what are no tokens")
        return tokens

    async def _fetch(self, path: str, body: dict[str, Any]) -> Any:
        return await self._client.fetch(path, {"model": self._model, **body}, at_root=True)


class VllmVerifier(_Tokenizer):
    """By the log-probabilities and ranks of the prompt's tokens.

    vLLM does not read its prefix cache for them, but fills it: what follows finds it there. It is
    wrong in a server that itself speculates.
    """

    text_key = "prompt"

    async def check(
        self, prompt: Sequence[int], drafted: Sequence[int], lenience: float
    ) -> Checked:
        reply = await self._client.fetch(
            "/completions",
            {
                "model": self._model,
                "prompt": [*prompt, *drafted],
                "max_tokens": 1,
                "temperature": 0,
                "prompt_logprobs": TOP_LOGPROBS,
                **NEUTRAL,
            },
        )
        try:
            choice = reply["choices"][0]
            rows = choice["prompt_logprobs"]
            if len(rows) != len(prompt) + len(drafted):
                raise Fault(f"gave {len(rows)} rows for {len(prompt) + len(drafted)} tokens")
            accepted = accept(map(_vllm_row, drafted, rows[len(prompt) :]), lenience)
            ended = choice["finish_reason"] == "stop" and not choice["text"]
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            raise Fault("gave no log-probabilities of a prompt", blames=False) from error
        return Checked(accepted, ended and len(accepted) == len(drafted))


class SglangVerifier(_Tokenizer):
    """By the log-probabilities of the input from the last prompt token on.

    So its cache of prefixes is read too. The first row, before which nothing is known, is empty.
    """

    text_key = "text"

    async def check(
        self, prompt: Sequence[int], drafted: Sequence[int], lenience: float
    ) -> Checked:
        reply = await self._client.fetch(
            "/generate",
            {
                "input_ids": [*prompt, *drafted],
                "sampling_params": {"max_new_tokens": 1, "temperature": 0},
                "return_logprob": True,
                "logprob_start_len": len(prompt) - 1,
                "top_logprobs_num": TOP_LOGPROBS,
                "return_text_in_logprobs": True,
            },
            at_root=True,
        )
        try:
            meta = reply["meta_info"]
            chosen, likeliest = (
                meta[f"input_{kind}_logprobs"][-len(drafted) :] for kind in ("token", "top")
            )
            if [entry[1] for entry in chosen] != list(drafted) or len(likeliest) != len(drafted):
                raise Fault("gave the log-probabilities of other tokens")
            accepted = accept(map(_sglang_row, chosen, likeliest), lenience)
            ended = meta["finish_reason"]["type"] == "stop"
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            raise Fault("gave no log-probabilities of its input", blames=False) from error
        return Checked(accepted, ended and len(accepted) == len(drafted))


def _vllm_row(token: int, row: Mapping[str, Any]) -> Row:
    chosen = row[str(token)]
    content = str(chosen["decoded_token"] or "").encode()
    likeliest = [_finite(entry["logprob"]) for entry in row.values()]
    return Row(content, chosen["logprob"], chosen["rank"] == 1, likeliest)


def _sglang_row(chosen: Sequence[Any], top: Sequence[Sequence[Any]]) -> Row:
    logprob, token, text = chosen
    best = max(top, key=lambda entry: entry[0])[1]
    likeliest = [_finite(entry[0]) for entry in top]
    return Row(str(text or "").encode(), logprob, token == best, likeliest)


def _finite(logprob: float) -> float:
    if not math.isfinite(logprob):
        raise ValueError(f"a log-probability of {logprob}")
    return logprob
