"""The embedded engine: one model, one context, one worker thread."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import llama_cpp

from adaptive_sd.engines.alignment import DraftTokens, carry_logprobs, surety_of
from adaptive_sd.engines.base import EngineInfo
from adaptive_sd.engines.generation import generate
from adaptive_sd.engines.llama_cpp.chat import ChatFormat
from adaptive_sd.engines.llama_cpp.library import MAX_BRANCHES, PREFILL_CHUNK, Context, Model
from adaptive_sd.engines.llama_cpp.speed import measure_rates
from adaptive_sd.engines.sampling import check_sampling
from adaptive_sd.engines.text import token_ends
from adaptive_sd.engines.verification import DraftVerifier
from adaptive_sd.engines.voting import generate_votes
from adaptive_sd.errors import ConfigError, ContextOverflowError, EngineClosedError, EngineError
from adaptive_sd.types import (
    Acceptance,
    Draft,
    Message,
    Observer,
    Offer,
    Progress,
    Rates,
    Sampling,
)

T = TypeVar("T")


class LlamaCppEngine:
    """Runs one GGUF model on this machine.

    All calls of llama.cpp happen on one worker thread, so threads cannot corrupt the context;
    callers wait their turn. The KV cache is kept between calls.
    """

    def __init__(
        self,
        path: Path,
        *,
        name: str,
        model_hash: str,
        context: int = 4096,
        threads: int | None = None,
        gpu_layers: int = 0,
    ) -> None:
        """Load the model. Raises DamagedModelError or EngineError (memory)."""
        self._lock = threading.Lock()
        self._closed = False
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=f"llama-{name}")
        num_threads = threads or len(os.sched_getaffinity(0))

        def load() -> tuple[Model, ChatFormat, Context]:
            model = Model(path, num_gpu_layers=gpu_layers)
            try:
                chat = ChatFormat(model)
                size = min(context, model.train_context)
                return model, chat, Context(model, size=size, num_threads=num_threads)
            except EngineError:
                model.close()
                raise

        try:
            self._model, self._chat, self._context = self._worker.submit(load).result()
        except BaseException:
            self._worker.shutdown()
            raise
        self._info = EngineInfo(
            engine="llama_cpp",
            engine_version=llama_cpp.__version__,
            model=name,
            model_hash=model_hash,
            num_parameters=self._model.num_parameters,
            context=self._context.size,
            hidden_width=self._model.hidden_width,
        )

    @property
    def info(self) -> EngineInfo:
        return self._info

    def generate(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        draft: Offer | None = None,
        observer: Observer | None = None,
        rates: Rates | None = None,
        acceptance: Acceptance | None = None,
    ) -> Draft:
        """See Engine.generate; Ctrl-C in the calling thread ends the work and is raised again."""
        check_sampling(sampling)

        interrupted = threading.Event()

        def work() -> Draft:
            prompt = self._prompt_tokens(messages)
            drafted = DraftTokens() if draft is None else self._draft_tokens(draft)
            return generate(
                self._context,
                self._model,
                prompt,
                sampling,
                verifier=DraftVerifier(drafted, rates, acceptance),
                chunk=PREFILL_CHUNK,
                observer=_until(interrupted, observer),
            )

        return self._run(work, interrupted)

    def sample(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        count: int,
        *,
        observer: Observer | None = None,
    ) -> list[Draft]:
        """`count` answers decoded together, with seeds from `sampling.seed` on.

        Raises ConfigError for more than MAX_BRANCHES, or for a model that cannot.
        """
        check_sampling(sampling)
        if not 1 <= count <= MAX_BRANCHES:
            raise ConfigError(f"{count} answers at once; it must be 1 to {MAX_BRANCHES}.")
        interrupted = threading.Event()

        def work() -> list[Draft]:
            if not self._context.can_fork:
                raise ConfigError(f"{self._info.model} cannot decode several answers at once.")
            return generate_votes(
                self._context,
                self._model,
                self._prompt_tokens(messages),
                sampling,
                count,
                chunk=PREFILL_CHUNK,
                observer=_until(interrupted, observer),
            )

        return self._run(work, interrupted)

    def measure_rates(self) -> Rates:
        """Seconds a token of reading, decoding and verifying, on the machine as it is now."""
        interrupted = threading.Event()
        return self._run(
            lambda: measure_rates(self._context, lambda: not interrupted.is_set()), interrupted
        )

    def prompt_tokens(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """See Engine.prompt_tokens."""
        return tuple(self._run(lambda: self._prompt_tokens(messages)))

    def draft_tokens(self, draft: Offer) -> DraftTokens:
        """See Engine.draft_tokens."""
        return self._run(lambda: self._draft_tokens(draft))

    def token_ends(self, token_ids: Sequence[int]) -> tuple[int, ...]:
        """See Engine.token_ends."""
        return self._run(lambda: token_ends(map(self._model.piece, token_ids)))

    def close(self) -> None:
        """Free context and model; a second close does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True

        def free() -> None:
            self._context.close()
            self._model.close()

        self._worker.submit(free).result()
        self._worker.shutdown()

    def _run(self, work: Callable[[], T], interrupted: threading.Event | None = None) -> T:
        """The work on the worker's thread; Ctrl-C here sets `interrupted` and waits for its end."""
        with self._lock:
            if self._closed:
                raise EngineClosedError(f"{self._info.model}: the engine is closed.")
            future = self._worker.submit(work)
        try:
            return future.result()
        except KeyboardInterrupt:
            if interrupted is not None:
                interrupted.set()
            if not future.cancel():
                future.exception()  # wait: the context must be idle before anyone goes on
            raise

    def _prompt_tokens(self, messages: Sequence[Message]) -> list[int]:
        tokens = self._chat.tokens(messages)
        if len(tokens) >= self._context.size:
            raise ContextOverflowError(
                f"the prompt has {len(tokens)} tokens, {self._info.model} has a context of "
                f"{self._context.size}: shorten it or set a larger `context`."
            )
        return tokens

    def _draft_tokens(self, draft: Offer) -> DraftTokens:
        if not draft.text:
            return DraftTokens()
        tokens = self._model.tokenize(draft.text, special=False)
        ends = token_ends(map(self._model.piece, tokens))
        logprobs = carry_logprobs(draft.token_ends, draft.token_logprobs, ends)
        sureties = map(surety_of, (*logprobs, math.nan))
        return DraftTokens((*tokens, self._model.end_token), tuple(sureties))


def _until(interrupted: threading.Event, observer: Observer | None) -> Observer:
    """`observer`, or its end when interrupted."""

    def observe(progress: Progress) -> bool:
        return not interrupted.is_set() and (observer is None or observer(progress))

    return observe
