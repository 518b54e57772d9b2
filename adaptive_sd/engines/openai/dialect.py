"""How a server wants to be asked: the bodies of requests, and what it has refused so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from adaptive_sd.engines.hosted.deltas import TOP_LOGPROBS
from adaptive_sd.engines.openai.faults import Fault
from adaptive_sd.engines.openai.options import EndpointOptions
from adaptive_sd.types import Message, Sampling


def turns_of(messages: Sequence[Message], *, is_extended: bool = True) -> dict[str, Any]:
    """A chat in a request's body; where the server knows how to, its last turn is gone on with."""
    turns: dict[str, Any] = {"messages": [asdict(message) for message in messages]}
    if is_extended and messages[-1].role == "assistant":
        turns |= {"continue_final_message": True, "add_generation_prompt": False}
    return turns


NEUTRAL = {"repetition_penalty": 1.0, "top_k": -1, "min_p": 0.0}
"""What vLLM and SGLang else take from the model's generation_config.json.

A penalty would have greedy answers that no log-probabilities tell.
"""


class Dialect:
    """Begins with all that is useful, and leaves out what the server says that it does not know."""

    def __init__(self, options: EndpointOptions) -> None:
        self._options = options
        self._limit_key = "max_tokens"
        self._counts_in_streams = True
        self.gives_logprobs = True
        self.is_extended = False
        """Whether it takes what vLLM and SGLang add: others go on with a last turn, or cannot."""

    @property
    def first_byte_s(self) -> float | None:
        """A reply that is no stream comes when all of it is there: its first byte may take long."""
        return self._options.first_byte_s if self._options.stream else None

    def chat(self, messages: Sequence[Message], sampling: Sampling) -> dict[str, Any]:
        body = self._body(sampling) | turns_of(messages, is_extended=self.is_extended)
        if self.gives_logprobs:
            body |= {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
        return body

    def completion(self, token_ids: Sequence[int], sampling: Sampling) -> dict[str, Any]:
        body = self._body(sampling) | {"prompt": list(token_ids)}
        return body | ({"logprobs": TOP_LOGPROBS} if self.gives_logprobs else {})

    def learn(self, fault: Fault) -> bool:
        """Whether the next body leaves out what this refusal names."""
        if fault.status not in (400, 422):
            return False
        before = (self._limit_key, self._counts_in_streams, self.gives_logprobs)
        if "max_completion_tokens" in fault.text:
            self._limit_key = "max_completion_tokens"
        if "stream_options" in fault.text:
            self._counts_in_streams = False
        if "logprobs" in fault.text:
            self.gives_logprobs = False
        return before != (self._limit_key, self._counts_in_streams, self.gives_logprobs)

    def _body(self, sampling: Sampling) -> dict[str, Any]:
        body: dict[str, Any] = {
            **(NEUTRAL if self.is_extended else {}),
            **self._options.body,
            "model": self._options.model,
            self._limit_key: sampling.max_tokens,
            "temperature": sampling.temperature,
        }
        if sampling.temperature:
            body |= {"top_p": sampling.top_p, "seed": sampling.seed}
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if self._options.stream:
            body["stream"] = True
            if self._counts_in_streams:
                # with every event: an answer that is cut short is counted too
                more = {"continuous_usage_stats": True} if self.is_extended else {}
                body["stream_options"] = {"include_usage": True} | more
        return body
