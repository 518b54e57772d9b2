"""Several requests in one batch: who has a slot, and what the next pass evaluates."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from adaptive_sd.engines.alignment import common_prefix
from adaptive_sd.engines.passes import Cache, Piece, Rows, Steps, TokenSequence
from adaptive_sd.engines.verification import MAX_ROWS
from adaptive_sd.errors import CancelledError, EngineClosedError, EngineError, QueueFullError

T = TypeVar("T")

MAX_TOKENS = 128
"""Most tokens of a pass, prompts' included: so small that a cancelled request ends soon."""

READ_BESIDE = 32
"""Most prompt tokens of a pass in which others decode: as long as some ten of their steps."""


def next_pass(wants: Sequence[list[Piece]]) -> dict[int, list[Piece]]:
    """What of the requests' wants goes into the next pass, by request; first come, first served.

    Rows that do not fit wait whole; of prompts as many tokens as fit are read. Prompts are not
    read beside a piece that asks for a hidden state (see Context.evaluate): whichever stands
    first in the line goes first.
    """
    special = (each[0] for each in wants if each[0].hidden or not each[0].logits)
    reading = any(not piece.logits for piece in list(special)[:1])
    chosen: dict[int, list[Piece]] = {}
    room = MAX_ROWS
    for i, pieces in enumerate(wants):
        num_rows = sum(len(piece.tokens) for piece in pieces)
        if pieces[0].logits and num_rows <= room and not (reading and pieces[0].hidden):
            chosen[i] = pieces
            room -= num_rows
    room = READ_BESIDE if chosen else MAX_TOKENS
    for i, pieces in enumerate(wants if reading else ()):
        if not pieces[0].logits and room:
            chosen[i] = [pieces[0]._replace(tokens=pieces[0].tokens[:room])]
            room -= len(chosen[i][0].tokens)
    return chosen


@dataclass(frozen=True, slots=True, eq=False)
class Request(Generic[T]):
    """A prompt, its work once it has a slot, and whether anybody still wants it."""

    prompt: Sequence[int]
    begin: Callable[[TokenSequence], Steps[T]]
    wanted: Callable[[], bool] = lambda: True
    future: Future[T] = field(default_factory=Future)


class _Running:
    """A request in its slot."""

    def __init__(self, request: Request[Any], slot: TokenSequence) -> None:
        self.slot = slot
        self.wants: list[Piece] = []
        """From its next pass; empty when it has ended."""
        self.num_rows = 0
        """Of logits in its next pass; one a sequence while it has not said what it wants."""
        self._steps = self._begin(request)
        self._future = request.future
        self._result: object = None
        self._error: BaseException | None = None

    def _begin(self, request: Request[Any]) -> Steps[Any]:
        """What `begin` itself raises is the request's own error too."""
        return (yield from request.begin(self.slot))

    def resume(self, rows: list[Rows] | None) -> None:
        """Go on with the rows of the last pass (None: begin)."""
        try:
            self.wants = self._steps.send(rows)  # type: ignore[arg-type]
        except StopIteration as end:
            self.wants, self._result = [], end.value
        except BaseException as error:  # whatever an observer raises is its caller's
            self.fail(error)
        self.num_rows = sum(len(piece.tokens) for piece in self.wants if piece.logits)

    def fail(self, error: BaseException) -> None:
        self.wants, self._error = [], error
        self._steps.close()

    def settle(self) -> None:
        """Tell the caller how it ended."""
        if self._error is None:
            self._future.set_result(self._result)
        else:
            self._future.set_exception(self._error)


class Scheduler:
    """Runs requests on a worker's thread, as many at a time as the cache has slots.

    Safe to call from any thread but the worker's, on which observers run. The cache is used by the
    worker alone.
    """

    def __init__(self, cache: Cache, worker: Executor, *, name: str, max_waiting: int) -> None:
        self._cache = cache
        self._worker = worker
        self._name = name
        self._max_waiting = max_waiting
        self._lock = threading.Lock()  # of all below but `_running`, which is the worker's
        self._closed = self._awake = False
        self._thread: int | None = None  # the worker's while it works
        self._waiting: deque[Request[Any]] = deque()
        self._calls: list[Callable[[], None]] = []
        self._free = list(cache.slots)  # the least recently used first
        self._running: list[_Running] = []  # who is to be served first, first

    def submit(self, request: Request[T]) -> Future[T]:
        """Put a request into the queue; while it waits its future can be cancelled.

        Raises QueueFullError, EngineClosedError, and EngineError on the worker's own thread.
        """
        with self._lock:
            self._check_open()
            if len(self._waiting) >= self._max_waiting + len(self._free):
                raise QueueFullError(
                    f"{self._name}: {self._max_waiting} requests wait already; ask again later, or "
                    "give this stage more `slots` or a larger `max_waiting`."
                )
            self._waiting.append(request)
            self._wake()
        return request.future

    def call(self, work: Callable[[], T]) -> Future[T]:
        """Do some other work with the cache or its model before the next pass.

        Raises EngineClosedError, and EngineError on the worker's own thread.
        """
        future: Future[T] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as error:
                    future.set_exception(error)

        with self._lock:
            self._check_open()
            self._calls.append(run)
            self._wake()
        return future

    def close(self) -> bool:
        """Take no more work, but do what was taken; False when it was closed before.

        Raises EngineError on the worker's own thread.
        """
        with self._lock:
            self._check_caller()
            was_open, self._closed = not self._closed, True
        return was_open

    def rows_beside(self, slot: TokenSequence) -> int:
        """Rows of the next pass that others than the request in `slot` take, as far as known.

        For requests on the worker's thread to ask.
        """
        return sum(running.num_rows for running in self._running if running.slot is not slot)

    def _check_open(self) -> None:
        self._check_caller()
        if self._closed:
            raise EngineClosedError(f"{self._name}: the engine is closed.")

    def _check_caller(self) -> None:
        """The worker would wait for itself."""
        if self._thread == threading.get_ident():
            raise EngineError(
                f"{self._name}: an observer may not use the engine that calls it; do so in "
                "another thread, or after the answer."
            )

    def _wake(self) -> None:
        if not self._awake:
            self._worker.submit(self._work)
            self._awake = True

    def _work(self) -> None:
        """Until nothing is left to do; what goes wrong here ends everybody's wait."""
        self._thread = threading.get_ident()
        busy = True
        while busy:
            try:
                busy = self._step()
            except BaseException as error:
                self._fail_all(error)

    def _step(self) -> bool:
        """Calls and one pass; False where there was nothing to do."""
        with self._lock:
            calls, self._calls = self._calls, []
            self._awake = bool(calls or self._waiting or self._running)
            if not self._awake:
                self._thread = None
                return False
        for call in calls:
            call()
        self._admit()
        self._drop_unwanted()
        if self._running:
            self._pass()
        return True

    def _fail_all(self, error: BaseException) -> None:
        """The state of those that run is not known: begin again with free slots."""
        failed = EngineError(f"{self._name}: the engine failed: {error!r}.")
        failed.__cause__ = error
        for running in self._running:
            if running.wants:
                running.fail(failed)
        self._release_ended()
        with self._lock:
            waiting, self._waiting = self._waiting, deque()
        for request in waiting:
            if request.future.set_running_or_notify_cancel():
                request.future.set_exception(failed)

    def _admit(self) -> None:
        """Give free slots to waiting requests, each the one that knows most of its prompt."""
        while self._waiting and self._free:
            with self._lock:
                request = self._waiting.popleft()
                slot = max(self._free, key=lambda s: common_prefix(s.tokens, request.prompt))
                self._free.remove(slot)
            if request.future.set_running_or_notify_cancel():
                running = _Running(request, slot)
                running.resume(None)
                self._running.append(running)
            else:
                self._free.append(slot)
        self._release_ended()

    def _drop_unwanted(self) -> None:
        """Take out of the queue whoever does not want to wait any more."""
        for request in list(self._waiting):
            try:
                unwanted: BaseException | None = (
                    None if request.wanted() else CancelledError("cancelled before its turn came.")
                )
            except BaseException as error:  # whatever an observer raises is its caller's
                unwanted = error
            if unwanted is not None or request.future.cancelled():
                with self._lock:
                    self._waiting.remove(request)
                if request.future.set_running_or_notify_cancel():
                    request.future.set_exception(unwanted)

    def _pass(self) -> None:
        """One pass; whoever was served goes to the end of the line."""
        chosen = next_pass([running.wants for running in self._running])
        served = [self._running[i] for i in chosen]
        try:
            rows = iter(self._cache.evaluate([p for pieces in chosen.values() for p in pieces]))
        except EngineError as error:  # the cache has forgotten all sequences: nobody can go on
            for running in self._running:
                running.fail(error)
        else:
            for running, pieces in zip(served, chosen.values(), strict=True):
                running.num_rows = len(pieces)
            for running, pieces in zip(served, chosen.values(), strict=True):
                running.resume([next(rows) for _ in pieces])
        self._running = [r for r in self._running if r not in served] + served
        self._release_ended()

    def _release_ended(self) -> None:
        ended = [running for running in self._running if not running.wants]
        self._running = [running for running in self._running if running.wants]
        with self._lock:  # before its caller can ask again
            self._free += [running.slot for running in ended]
        for running in ended:
            running.settle()
