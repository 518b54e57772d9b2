"""What every engine of a hosted model does alike: put questions, wait for answers, be closed."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Sequence
from typing import Any, ClassVar, TypeVar

from adaptive_sd.engines.hosted.asking import Host, Push, Question, answer
from adaptive_sd.engines.hosted.collecting import collect
from adaptive_sd.engines.hosted.growing import Growing
from adaptive_sd.engines.hosted.loop import LoopThread
from adaptive_sd.engines.hosted.verifying import Failure
from adaptive_sd.engines.hosted.votes import sample
from adaptive_sd.engines.sampling import check_sampling
from adaptive_sd.errors import EngineClosedError, EngineError
from adaptive_sd.types import (
    Acceptance,
    Draft,
    IsDecided,
    Message,
    Observer,
    Offer,
    Rates,
    Sampling,
)

T = TypeVar("T")


class HostedEngine(ABC):
    """One model. Requests run side by side, on an event loop of the engine's own."""

    reads_cache: ClassVar[bool] = False
    """See Growing."""

    def __init__(self, kind: str, model: str) -> None:
        self._model = model
        self._loop = LoopThread(f"{kind}-{model}")
        self._lock = threading.Lock()
        self._closed = False

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
        """See Engine.generate; a draft is verified where the host can, and all at once.

        Raises EndpointError too, of an endpoint. Where `observer` ends it, or Ctrl-C, so does the
        request.
        """
        check_sampling(sampling)
        question = Question(messages, sampling, draft, rates, acceptance)
        growing = Growing(sampling, observer, question.num_bytes, reads_cache=self.reads_cache)
        self._collect([question], [growing])
        return growing.draft()

    def sample(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        seeds: Sequence[int],
        *,
        is_decided: IsDecided | None = None,
        observer: Observer | None = None,
    ) -> list[Draft]:
        """See Engine.sample; requests of their own, side by side. Raises as `generate`."""
        check_sampling(sampling)
        asked = (messages, sampling, seeds, is_decided, observer)
        return sample(self._collect, *asked, reads_cache=self.reads_cache)

    def close(self) -> None:
        """A second close does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._end()

    @abstractmethod
    def _host(self) -> Host:
        """Whom questions are put to. Raises Failure."""

    def _guard(self, work: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        """Around all that is asked of the host."""
        return work

    @abstractmethod
    def _public(self, failure: Any) -> EngineError:
        """Ours, of the engine's own kind of Failure."""

    @abstractmethod
    def _end(self) -> None:
        """Let go of everything."""

    def _check_open(self) -> None:
        if self._closed:
            raise EngineClosedError(f"{self._model} was closed.")

    def _collect(
        self,
        questions: Sequence[Question],
        answers: Sequence[Growing],
        is_decided: IsDecided | None = None,
    ) -> None:
        self._check_open()
        try:
            host = self._host()

            async def ask(question: Question, push: Push) -> None:
                await self._guard(answer(host, question, push))

            collect(self._loop, ask, questions, answers, is_decided)
        except Failure as failure:
            raise self._public(failure) from failure

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """What the work on the loop gives."""
        try:
            self._check_open()
            return self._loop.run(lambda: self._guard(work))
        except Failure as failure:
            raise self._public(failure) from failure
        finally:
            work.close()
