"""How vLLM and SGLang verify a draft: one request that reads it, each in its own interface."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from adaptive_sd.engines.openai.client import Client
from adaptive_sd.engines.openai.dialect import turns_of
from adaptive_sd.engines.openai.faults import Fault
from adaptive_sd.engines.openai.replies import TOP_LOGPROBS, Token, token_of
from adaptive_sd.types import Message


class Checked(NamedTuple):
    """What a server made of a draft: its tokens up to the first that it would not have chosen.

    `ended`: all were accepted, and the answer ends there.
    """

    accepted: tuple[Token, ...]
    ended: bool


class Verifier(Protocol):
    """A server's way; every method raises Fault."""

    async def prompt(self, messages: Sequence[Message]) -> list[int]:
        """The tokens of a chat."""
        ...

    async def tokens(self, text: str) -> list[int]:
        """Of a text by itself."""
        ...

    async def text(self, token_ids: Sequence[int]) -> str: ...

    async def check(
        self, prompt: Sequence[int], drafted: Sequence[int], lenience: float
    ) -> Checked:
        """Greedy verification of the drafted tokens after the prompt, in one pass."""
        ...


class _Tokenizer:
    """What both servers share, but for the name of a text."""

    text_key = ""

    def __init__(self, client: Client, model: str) -> None:
        self._client = client
        self._model = model

    async def prompt(self, messages: Sequence[Message]) -> list[int]:
        return await self._tokenize(turns_of(messages))

    async def tokens(self, text: str) -> list[int]:
        return await self._tokenize({"prompt": text, "add_special_tokens": False})

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
            },
        )
        try:
            choice = reply["choices"][0]
            rows = choice["prompt_logprobs"]
            if len(rows) != len(prompt) + len(drafted):
                raise Fault(f"gave {len(rows)} rows for {len(prompt) + len(drafted)} tokens")
            accepted = []
            for token, row in zip(drafted, rows[len(prompt) :], strict=True):
                chosen = row[str(token)]
                chances = [_finite(entry["logprob"]) for entry in row.values()]
                if chosen["rank"] != 1 and chosen["logprob"] <= max(chances) - lenience:
                    break
                content = str(chosen["decoded_token"] or "").encode()
                accepted.append(token_of(content, chosen["logprob"], chances))
            ended = choice["finish_reason"] == "stop" and not choice["text"]
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            raise Fault("gave no log-probabilities of a prompt", blames=False) from error
        return Checked(tuple(accepted), ended and len(accepted) == len(drafted))


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
            accepted = []
            for token, (logprob, seen, text), top in zip(drafted, chosen, likeliest, strict=True):
                if seen != token:
                    raise Fault(f"gave the log-probability of token {seen}, not {token}")
                chances = [_finite(entry[0]) for entry in top]
                best = max(top, key=lambda entry: entry[0])[1]
                if token != best and logprob <= max(chances) - lenience:
                    break
                accepted.append(token_of(str(text or "").encode(), logprob, chances))
            ended = meta["finish_reason"]["type"] == "stop"
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            raise Fault("gave no log-probabilities of its input", blames=False) from error
        return Checked(tuple(accepted), ended and len(accepted) == len(drafted))


def _finite(logprob: float) -> float:
    if not math.isfinite(logprob):
        raise ValueError(f"a log-probability of {logprob}")
    return logprob
