"""Asks a model behind an OpenAI-compatible endpoint one question at a time."""

from __future__ import annotations

from collections.abc import Sequence

from adaptive_sd.closing import Closing
from adaptive_sd.engines.openai.options import EndpointOptions, check_key
from adaptive_sd.types import Message, Sampling

_MAX_TOKENS = 1024


class Endpoint(Closing):
    """Greedy answers; its errors never show the key or what was sent."""

    def __init__(
        self, base_url: str, model: str, *, key: str | None = None, timeout_s: float = 120.0
    ) -> None:
        """`timeout_s` bounds a whole answer. Raises ConfigError for what is no HTTP address."""
        from adaptive_sd.engines.openai.engine import OpenAIEngine  # loads an HTTP library

        options = EndpointOptions(
            base_url, model, stream=False, verify=False, first_byte_s=timeout_s, whole_s=timeout_s
        )
        options.check("--judge")
        check_key(key or "", "--judge")
        self._engine = OpenAIEngine(options, key=key or "")

    def ask(self, messages: Sequence[Message]) -> str:
        """The reply's text. Raises EngineError in one line."""
        return self._engine.generate(messages, Sampling(_MAX_TOKENS)).text

    def close(self) -> None:
        self._engine.close()
