"""A replica of a stage: its engine, asked from other processes, which it asks in turn.

While an answer grows the asking process decides whether it goes on. It is asked where it may say
no, and the engine waits for what it says, so that what it decides it decides as if it were here.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

from adaptive_sd.decision.partial import CHECKPOINTS
from adaptive_sd.distributed.placement import Placement
from adaptive_sd.engines.base import EngineInfo
from adaptive_sd.errors import AdaptiveSDError
from adaptive_sd.types import Progress, Rates, Work


class Facts(NamedTuple):
    """What a ladder must know of a stage whose model is elsewhere."""

    info: EngineInfo
    model_hash: str
    num_parameters: int
    rates: Rates | None


@dataclass(frozen=True, slots=True)
class Call:
    """A method of an engine that makes answers, and what it is given.

    `asks_always`: at every token and pass, not only where a draft may be abandoned. Answers that
    are not `watched` go to their end.
    """

    run_id: str
    method: str
    values: Mapping[str, Any]
    watched: bool
    asks_always: bool


class Ended(NamedTuple):
    """What came of a call: an answer, several, or why there is none."""

    result: Any


class Verdicts:
    """Takes what the asking process says to the replica that waits for it; an actor of Ray."""

    def __init__(self) -> None:
        self._said: dict[str, asyncio.Future[bool]] = {}

    async def say(self, run_id: str, verdict: bool) -> None:
        self._of(run_id).set_result(verdict)

    async def hear(self, run_id: str) -> bool:
        try:
            return await self._of(run_id)
        finally:
            self._said.pop(run_id, None)

    async def forget(self, run_id: str) -> None:
        """Both sides say so in the end, each after all else that it says: nothing is left."""
        if (left := self._said.pop(run_id, None)) is not None:
            left.cancel()

    def _of(self, run_id: str) -> asyncio.Future[bool]:
        if run_id not in self._said:
            self._said[run_id] = asyncio.get_running_loop().create_future()
        return self._said[run_id]


class StageReplica:
    """Holds one stage, which is loaded once and warmed up."""

    def __init__(self, placement: Placement) -> None:
        self._stage = placement.open()
        self._stage.warm_up()
        # whoever waits does so in the engine's queue, where its caps are looked at
        self._threads = ThreadPoolExecutor(placement.slots + placement.max_waiting)

    async def facts(self) -> Facts:
        return await asyncio.to_thread(self._facts)

    def _facts(self) -> Facts:
        stage = self._stage
        return Facts(stage.engine.info, stage.model_hash, stage.num_parameters, stage.rates)

    async def tell(self, method: str, *values: Any) -> Any:
        """What a method of the engine gives at once; its error where it fails."""
        return await asyncio.to_thread(_tried, getattr(self._stage.engine, method), *values)

    async def run(self, call: Call, verdicts: Any) -> AsyncIterator[Any]:
        """Yields Progress, or texts of votes, each to be said yes or no to; last comes Ended."""
        loop = asyncio.get_running_loop()
        shown: asyncio.Queue[Any] = asyncio.Queue()
        watch = _Watch(
            call.asks_always, lambda item: loop.call_soon_threadsafe(shown.put_nowait, item)
        )
        values = dict(call.values)
        if call.watched:
            values["observer"] = watch.observe
        if call.method == "sample":
            values["is_decided"] = watch.is_decided
        engine = self._stage.engine

        def work() -> None:
            watch.show(Ended(_tried(getattr(engine, call.method), **values)))

        running = loop.run_in_executor(self._threads, work)
        try:
            while not isinstance(item := await shown.get(), Ended):
                yield item
                watch.hear(await verdicts.hear.remote(call.run_id))
            yield item
        finally:
            watch.end()
            verdicts.forget.remote(call.run_id)
            await asyncio.wait([running])


class _Watch:
    """What an engine's thread asks, and waits for."""

    def __init__(self, asks_always: bool, show: Callable[[Any], object]) -> None:
        self.show = show
        self._asks_always = asks_always
        self._heard: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._text: list[str] = []

    def observe(self, progress: Progress) -> bool:
        """The text is told whole at the next question."""
        if self._ended.is_set():
            return False
        self._text.append(progress.new_text)
        if not self._asks_always and progress.num_tokens not in CHECKPOINTS:
            return True
        text, work = "".join(self._text), progress.work
        self._text.clear()
        passes = dict(work.passes)  # a view does not travel
        told = Progress(text, progress.num_tokens, tuple(progress.token_logprobs))
        return self._ask(told._replace(work=Work(work.num_read, passes)))

    def is_decided(self, texts: Sequence[str], num_tokens: int) -> bool:
        return self._ended.is_set() or self._ask((list(texts), num_tokens))

    def hear(self, verdict: bool) -> None:
        self._heard.put(verdict)

    def end(self) -> None:
        """Nobody listens any more."""
        self._ended.set()
        self._heard.put(False)

    def _ask(self, question: Progress | tuple[list[str], int]) -> bool:
        self.show(question)
        return self._heard.get()


def _tried(method: Callable[..., Any], *values: Any, **named: Any) -> Any:
    try:
        return method(*values, **named)
    except AdaptiveSDError as error:
        return type(error)(*error.args)  # without its trace, which may not travel
