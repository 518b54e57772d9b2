"""The loop of hosted engines: whoever comes at its close gets an answer or one error."""

from __future__ import annotations

import asyncio
import threading

import pytest

from adaptive_sd.engines.hosted.loop import LoopThread
from adaptive_sd.errors import EngineClosedError


async def nothing() -> int:
    await asyncio.sleep(0)
    return 1


def test_after_the_close_nothing_begins_and_what_had_begun_can_be_cancelled() -> None:
    loop = LoopThread("tested")
    job = loop.start(lambda _: asyncio.sleep(1000))
    loop.close()
    with pytest.raises(EngineClosedError):
        job.result()
    job.cancel()
    for begin in (lambda: loop.run(nothing), lambda: loop.start(lambda _: nothing())):
        with pytest.raises(EngineClosedError, match="was closed"):
            begin()


def test_a_call_that_races_the_close_ends() -> None:
    """With its result or EngineClosedError, and never not at all."""
    for _ in range(20):
        loop, others = LoopThread("tested"), []

        def call(loop: LoopThread = loop, others: list[BaseException] = others) -> None:
            try:
                while True:
                    assert loop.run(nothing) == 1
            except EngineClosedError:
                pass
            except BaseException as error:
                others.append(error)

        callers = [threading.Thread(target=call, daemon=True) for _ in range(3)]
        for caller in callers:
            caller.start()
        loop.close()
        for caller in callers:
            caller.join(60)
        assert not others and not any(caller.is_alive() for caller in callers)
