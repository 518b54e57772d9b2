"""An answer's text piece by piece, for threads and for asyncio."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Protocol

from adaptive_sd.closing import Closing
from adaptive_sd.errors import CancelledError
from adaptive_sd.trace import Answer


class Work(Protocol):
    """Makes an answer; tells its text to `on_text`, ends when `keep_going` says False."""

    def __call__(
        self,
        *,
        on_text: Callable[[str], None] | None = None,
        keep_going: Callable[[], bool] | None = None,
    ) -> Answer: ...


class AnswerStream(Closing):
    """Iterates over the pieces of an answer's text; `answer` is there after the last one.

    Leaving the `with` block, or `close`, ends the work early.
    """

    def __init__(self, work: Work) -> None:
        self.answer: Answer | None = None
        self._pieces: queue.Queue[str | None] = queue.Queue()
        self._closed = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def _run(self, work: Work) -> None:
        try:
            self.answer = work(
                on_text=self._pieces.put, keep_going=lambda: not self._closed.is_set()
            )
        except BaseException as error:  # raised again in the reader's thread
            self._error = error
        finally:
            self._pieces.put(None)

    def __iter__(self) -> Iterator[str]:
        while (piece := self._pieces.get()) is not None:
            yield piece
        self._pieces.put(None)  # whoever iterates again finds the end too
        self._thread.join()
        if self._error is not None and not (
            self._closed.is_set() and isinstance(self._error, CancelledError)
        ):
            raise self._error

    def close(self) -> None:
        """End the work and wait until the stages are idle."""
        self._closed.set()
        self._thread.join()


async def run_async(work: Work) -> Answer:
    """Await an answer made on a worker thread; cancelling the task ends the work."""
    cancelled = threading.Event()
    task = asyncio.ensure_future(asyncio.to_thread(work, keep_going=lambda: not cancelled.is_set()))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        cancelled.set()
        await asyncio.wait([task])
        task.exception()
        raise
