"""An engine in this process: one model, one cache of several slots, one worker thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

from adaptive_sd.engines.alignment import DraftTokens, common_prefix
from adaptive_sd.engines.base import EngineInfo
from adaptive_sd.engines.chat import ChatFormat, Tokenizer
from adaptive_sd.engines.drafts import draft_tokens
from adaptive_sd.engines.generation import Vocabulary, generate
from adaptive_sd.engines.passes import Steps
from adaptive_sd.engines.prefixes import BUDGET_TOKENS, MIN_TOKENS
from adaptive_sd.engines.sampling import check_sampling, check_votes
from adaptive_sd.engines.scheduling import Request, Scheduler
from adaptive_sd.engines.sequences import SequenceCache
from adaptive_sd.engines.speed import measure_rates
from adaptive_sd.engines.states import StateStore
from adaptive_sd.engines.text import token_ends
from adaptive_sd.engines.verification import DraftVerifier
from adaptive_sd.engines.voting import generate_votes
from adaptive_sd.errors import ConfigError, ContextOverflowError, EngineError
from adaptive_sd.styles import examples_asked_twice
from adaptive_sd.types import (
    Acceptance,
    Draft,
    IsDecided,
    Message,
    Observer,
    Offer,
    Progress,
    Rates,
    Sampling,
)

T = TypeVar("T")


class LocalModel(Tokenizer, Vocabulary, Protocol):
    """Weights and vocabulary of one model in this process."""

    num_parameters: int
    hidden_width: int

    @property
    def end_token(self) -> int:
        """The token that ends a turn."""
        ...

    def close(self) -> None: ...


class Loaded(NamedTuple):
    """What a worker thread serves requests with."""

    model: LocalModel
    chat: ChatFormat
    cache: SequenceCache


class LocalEngine:
    """Runs one model in this process.

    All calls of the library that runs it happen on one worker thread, so threads cannot corrupt
    its cache. It decodes as many requests in one batch as the cache has slots; further callers
    wait their turn, and more than `max_waiting` are refused. The cache is kept between calls.
    """

    def __init__(
        self,
        load: Callable[[], Loaded],
        *,
        engine: str,
        engine_version: str,
        name: str,
        model_hash: str,
        num_threads: int,
        max_waiting: int,
        states: StateStore | None = None,
    ) -> None:
        """Load the model, on the worker's thread.

        `num_threads` do the work, 0 where a GPU does. Worked examples that it has read are kept in
        `states` where its library can write them. Raises what `load` raises.
        """
        self._num_threads = num_threads
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=f"{engine}-{name}")
        try:
            self._model, self._chat, self._cache = self._worker.submit(load).result()
            self._cache.expect(self._worker.submit(self._beginnings).result(), states)
        except BaseException:
            self._worker.shutdown()
            raise
        self._info = EngineInfo(
            engine=engine,
            engine_version=engine_version,
            model=name,
            model_hash=model_hash,
            num_parameters=self._model.num_parameters,
            context=self._cache.slots[0].size,
            hidden_width=self._model.hidden_width,
        )
        self._scheduler = Scheduler(self._cache, self._worker, name=name, max_waiting=max_waiting)

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
        prompt, drafted = self._call(
            lambda: (
                self._prompt_tokens(messages),
                DraftTokens() if draft is None else self._draft_tokens(draft),
            )
        )
        return self._answer(
            prompt,
            partial(
                generate,
                vocabulary=self._model,
                prompt=prompt,
                sampling=sampling,
                verifier=DraftVerifier(drafted, rates, acceptance),
                beside=self._scheduler.rows_beside,
            ),
            observer,
        )

    def sample(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        seeds: Sequence[int],
        *,
        is_decided: IsDecided | None = None,
        observer: Observer | None = None,
    ) -> list[Draft]:
        """See Engine.sample.

        Raises ConfigError for more than MAX_BRANCHES, or for a model that cannot.
        """
        check_sampling(sampling)
        check_votes(len(seeds))
        if not self._cache.can_fork:
            raise ConfigError(f"{self._info.model} cannot decode several answers at once.")
        prompt = self._call(lambda: self._prompt_tokens(messages))
        return self._answer(
            prompt,
            partial(
                generate_votes,
                vocabulary=self._model,
                prompt=prompt,
                sampling=sampling,
                seeds=seeds,
                is_decided=is_decided,
            ),
            observer,
        )

    def measure_rates(self) -> Rates:
        """See Engine.measure_rates; this engine's other requests stand still meanwhile."""
        interrupted = threading.Event()
        return self._call(
            lambda: measure_rates(
                self._cache.spare,
                lambda: not interrupted.is_set(),
                num_threads=self._num_threads,
            ),
            interrupted,
        )

    def prompt_tokens(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """See Engine.prompt_tokens."""
        return tuple(self._call(lambda: self._prompt_tokens(messages)))

    def draft_tokens(self, draft: Offer) -> DraftTokens:
        """See Engine.draft_tokens."""
        return self._call(lambda: self._draft_tokens(draft))

    def token_ends(self, token_ids: Sequence[int]) -> tuple[int, ...]:
        """See Engine.token_ends."""
        return self._call(lambda: token_ends(map(self._model.piece, token_ids)))

    def close(self) -> None:
        """Free cache and model once all requests have ended; a second close does nothing."""
        if not self._scheduler.close():
            return

        def free() -> None:
            self._cache.close()
            self._model.close()

        self._worker.submit(free).result()
        self._worker.shutdown()

    def _answer(
        self,
        prompt: Sequence[int],
        begin: Callable[..., Steps[T]],
        observer: Observer | None,
    ) -> T:
        """What `begin` gives in a slot, with `observer` or Ctrl-C ending it."""
        interrupted = threading.Event()

        def observe(progress: Progress) -> bool:
            return not interrupted.is_set() and (observer is None or observer(progress))

        request = Request(
            prompt, partial(begin, observer=observe), lambda: observe(Progress("", 0, ()))
        )
        return _result(self._scheduler.submit(request), interrupted)

    def _call(self, work: Callable[[], T], interrupted: threading.Event | None = None) -> T:
        return _result(self._scheduler.call(work), interrupted)

    def _prompt_tokens(self, messages: Sequence[Message]) -> list[int]:
        tokens = self._chat.tokens(messages)
        if len(tokens) >= self._info.context:
            raise ContextOverflowError(
                f"the prompt has {len(tokens)} tokens, {self._info.model} has a context of "
                f"{self._info.context}: shorten it or set a larger `context`."
            )
        return tokens

    def _beginnings(self) -> list[tuple[int, ...]]:
        """The worked examples of all styles that fit and are long enough to keep."""
        found = []
        for one, other in examples_asked_twice():
            with suppress(EngineError):  # a template may refuse them
                tokens = self._chat.tokens(one)
                length = common_prefix(tokens, self._chat.tokens(other))
                if MIN_TOKENS <= length < min(self._cache.slots[0].size, BUDGET_TOKENS + 1):
                    found.append(tuple(tokens[:length]))
        return found

    def _draft_tokens(self, draft: Offer) -> DraftTokens:
        if not self._cache.can_fork:  # after each rejected span all would be read again
            return DraftTokens()
        return draft_tokens(self._model, draft)


def _result(future: Future[T], interrupted: threading.Event | None) -> T:
    """What the worker gives; Ctrl-C here sets `interrupted` and waits for the end of the work."""
    try:
        return future.result()
    except KeyboardInterrupt:
        if interrupted is not None:
            interrupted.set()
        if not future.cancel():
            future.exception()  # nobody may find it half done
        raise
