"""An event loop on a thread of its own, for callers that wait on theirs."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from adaptive_sd.errors import EngineClosedError

T = TypeVar("T")
S = TypeVar("S")

Work = Callable[[Callable[[S], None]], Coroutine[Any, Any, T]]
"""Hands things over one by one, through what it is given, before it ends."""


class LoopThread:
    """Runs coroutines for any number of threads."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result; Ctrl-C in the calling thread ends the work first.

        Raises EngineClosedError as `start` does.
        """
        return _result(self.start(lambda _: work()))

    def start(self, work: Work[S, T]) -> Job[S, T]:
        """Begin work whose things come out of `Job.next`; the caller cancels it in the end.

        Raises EngineClosedError after `close`, which ends all that has begun before.
        """
        with self._lock:
            if self._closed:
                raise EngineClosedError("the engine was closed.")
            return Job(self._loop, work)

    def close(self) -> None:
        """End all work first."""
        with self._lock:
            self._closed = True
            last: Job[None, None] = Job(self._loop, lambda _: self._cancel_all())
        _result(last)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _cancel_all(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


class Job(Generic[S, T]):
    """Work on the loop, and what it has handed over so far."""

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Work[S, T]) -> None:
        self._loop = loop
        self._inbox: queue.SimpleQueue[tuple[S] | None] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._task: asyncio.Task[T]
        loop.call_soon_threadsafe(self._begin, work)

    def _begin(self, work: Work[S, T]) -> None:
        self._task = self._loop.create_task(work(lambda item: self._inbox.put((item,))))
        self._task.add_done_callback(self._end)

    def _end(self, _: object) -> None:
        self._inbox.put(None)
        self._ended.set()

    def next(self, timeout_s: float) -> tuple[S] | None:
        """The next thing, as a tuple of one; None at the end. Raises queue.Empty when late."""
        return self._inbox.get(timeout=timeout_s)

    def result(self) -> T:
        """Wait for the end; raises what the work did, EngineClosedError after `close`."""
        self._ended.wait()
        try:
            return self._task.result()
        except asyncio.CancelledError as error:
            raise EngineClosedError("the engine was closed while it was asked.") from error

    def cancel(self) -> None:
        """End the work, if it has not, and wait until it has let go of its connections."""
        if not self._ended.is_set():
            with contextlib.suppress(RuntimeError):  # closed just now, when all had ended
                self._loop.call_soon_threadsafe(lambda: self._task.cancel())
            self._ended.wait()
        if not self._task.cancelled():
            self._task.exception()  # seen: nothing is left to report


def _result(job: Job[None, T]) -> T:
    try:
        return job.result()
    finally:
        job.cancel()
