"""The engine of models that vLLM runs in this process's care."""

from __future__ import annotations

import atexit
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from adaptive_sd.engines.alignment import DraftTokens
from adaptive_sd.engines.base import EngineInfo
from adaptive_sd.engines.drafts import draft_tokens
from adaptive_sd.engines.hosted.engine import HostedEngine
from adaptive_sd.engines.hosted.speed import measure_rates
from adaptive_sd.engines.text import token_ends
from adaptive_sd.engines.vllm.host import VllmFailure, VllmHost
from adaptive_sd.engines.vllm.log import EngineLog
from adaptive_sd.engines.vllm.options import VllmOptions
from adaptive_sd.engines.vllm.starting import last_error, start
from adaptive_sd.engines.vocabulary import Vocabulary
from adaptive_sd.errors import EngineError
from adaptive_sd.types import (
    Message,
    Offer,
    Rates,
)

T = TypeVar("T")


class VllmEngine(HostedEngine):
    """One model. Requests run side by side, in batches that vLLM makes."""

    reads_cache = True
    _llm: Any = None  # until it has started

    def __init__(
        self,
        folder: Path,
        options: VllmOptions,
        *,
        model_hash: str = "",
        num_parameters: int = 0,
    ) -> None:
        """Loads the model of a folder.

        Raises as adaptive_sd.engines.vllm.starting.start, and EngineError for a tokenizer or a
        template that is of no use.
        """
        super().__init__("vllm", options.model)
        self._folder = folder
        self._options = options
        self._log = EngineLog()
        try:
            self._loop.run(self._start)
            self._vocabulary = Vocabulary(self._llm.get_tokenizer(), frozenset())
            self._asked = VllmHost(self._llm, self._vocabulary, options.context)
            version = _version()
        except BaseException:
            self._end()
            raise
        self.info = EngineInfo(
            engine="vllm",
            engine_version=version,
            model=options.model,
            model_hash=model_hash,
            num_parameters=num_parameters,
            context=options.context,
            hidden_width=0,
        )
        atexit.register(self.close)  # else vLLM's process is waited for without end

    async def _start(self) -> None:
        """On the loop that it is used on: its sockets belong to that."""
        self._llm = start(self._folder, self._options, self._log)

    def _host(self) -> VllmHost:
        return self._asked

    def prompt_tokens(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """See Engine.prompt_tokens."""
        return tuple(self._run(self._asked.prompt(messages)))

    def draft_tokens(self, draft: Offer) -> DraftTokens:
        """See Engine.draft_tokens."""
        return draft_tokens(self._vocabulary, draft)

    def token_ends(self, token_ids: Sequence[int]) -> tuple[int, ...]:
        """See Engine.token_ends."""
        return token_ends(map(self._vocabulary.piece, token_ids))

    def measure_rates(self) -> Rates:
        """See Engine.measure_rates: seconds of answers that come alone."""
        return measure_rates(self.generate, self._options.context)

    def _end(self) -> None:
        atexit.unregister(self.close)
        self._loop.close()  # requests end first
        if self._llm is not None:
            self._llm.shutdown()
        self._log.close()

    def _public(self, failure: VllmFailure) -> EngineError:
        text = f"{self._options.model}: vLLM {failure.text}"
        if self._llm.errored and (said := self._log.read()):
            text += f" ({last_error(said)})"
        return failure.error(f"{' '.join(text.split())}.")


def _version() -> str:
    import vllm

    return str(vllm.__version__)
