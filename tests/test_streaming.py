"""Streams end with their work, however they are left."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from adaptive_sd.errors import CancelledError, EngineError
from adaptive_sd.streaming import AnswerStream, run_async
from adaptive_sd.trace import Answer

ANSWER = Answer("t", "a b", "s", 0, 0.5, 1.0, "s", 1.0, 1.0, False, False, True, ())


def talk(
    *,
    on_text: Callable[[str], None] | None = None,
    keep_going: Callable[[], bool] | None = None,
) -> Answer:
    for piece in ("a", " b"):
        if on_text is not None:
            on_text(piece)
    return ANSWER


class Endless:
    """Works until it is told to end."""

    def __init__(self) -> None:
        self.started, self.ended = threading.Event(), threading.Event()

    def __call__(
        self,
        *,
        on_text: Callable[[str], None] | None = None,
        keep_going: Callable[[], bool] | None = None,
    ) -> Answer:
        assert keep_going is not None
        if on_text is not None:
            on_text("x")
        self.started.set()
        while keep_going():
            self.ended.wait(0.001)
        self.ended.set()
        raise CancelledError("cancelled")


def test_pieces_are_the_text_and_the_answer_comes_after_them() -> None:
    with AnswerStream(talk) as stream:
        assert "".join(stream) == "a b"
    assert stream.answer is ANSWER


def test_leaving_early_ends_the_work() -> None:
    work = Endless()
    with AnswerStream(work) as stream:
        assert next(iter(stream)) == "x"
    assert work.ended.is_set() and stream.answer is None


def test_an_error_of_the_work_reaches_the_reader() -> None:
    def fail(**_: object) -> Answer:
        raise EngineError("no memory")

    with pytest.raises(EngineError, match="no memory"):
        list(AnswerStream(fail))


def test_awaited_answer_and_cancelled_task() -> None:
    assert asyncio.run(run_async(talk)) is ANSWER
    work = Endless()

    async def cancel() -> None:
        task = asyncio.ensure_future(run_async(work))
        await asyncio.to_thread(work.started.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert work.ended.is_set()
