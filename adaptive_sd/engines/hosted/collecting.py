"""Answers of a hosted model, collected on the caller's thread: one, or several side by side."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from adaptive_sd.engines.hosted.asking import Push, Question
from adaptive_sd.engines.hosted.deltas import Delta
from adaptive_sd.engines.hosted.growing import Growing, Opening
from adaptive_sd.engines.hosted.loop import Job, LoopThread
from adaptive_sd.types import IsDecided

_POLL_S = 0.05
"""How often the observer is asked while nothing comes."""

_GRACE_S = 1.0

Ask = Callable[[Question, Push], Coroutine[Any, Any, None]]
"""One request on the loop: see adaptive_sd.engines.hosted.asking.answer."""

Item = tuple[int, Delta | Opening]
"""What came for the answer at that place."""


def collect(
    loop: LoopThread,
    ask: Ask,
    questions: Sequence[Question],
    answers: Sequence[Growing],
    is_decided: IsDecided | None = None,
) -> None:
    """Put the questions side by side and let their answers grow until all have ended.

    One that its observer ends, and a decision by those that have ended, ends all. Raises what a
    request did whose answer is not whole.
    """

    async def work(push: Callable[[Item], None]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for place, question in enumerate(questions):
                    group.create_task(ask(question, partial(_hand_over, push, place)))
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None

    job: Job[Item, None] = loop.start(work)
    try:
        _follow(job, answers, is_decided)
        if any(answer.finish_reason is None for answer in answers):
            job.result()  # raises why no more came
    finally:
        job.cancel()


def _hand_over(push: Callable[[Item], None], place: int, found: Delta | Opening) -> None:
    push((place, found))


def _follow(job: Job[Item, None], answers: Sequence[Growing], is_decided: IsDecided | None) -> None:
    """Feed what comes until the end of it, or of all answers.

    After an end that the server set it has a moment to say what it counted, and to end the reply:
    only then can the connection be used again.
    """
    while any(answer.is_awaited for answer in answers):
        num_over = _num_over(answers)
        is_over = num_over == len(answers)
        try:
            item = job.next(_GRACE_S if is_over else _POLL_S)
        except queue.Empty:
            if is_over:
                break
            for answer in answers:
                answer.poll()
        else:
            if item is None:
                break
            ((place, found),) = item
            answers[place].take(found)
        if _num_over(answers) > num_over and _is_settled(answers, is_decided):
            for answer in answers:
                answer.cut()


def _num_over(answers: Sequence[Growing]) -> int:
    return sum(answer.finish_reason is not None for answer in answers)


def _is_settled(answers: Sequence[Growing], is_decided: IsDecided | None) -> bool:
    """Whether an observer has ended one, and so all, or no further one can change anything."""
    if any(answer.finish_reason == "cancelled" for answer in answers):
        return True
    if is_decided is None:
        return False
    running = [answer.num_seen for answer in answers if not answer.finish_reason]
    num_tokens = min(running, default=max(answer.num_seen for answer in answers))
    return is_decided([a.text for a in answers if a.finish_reason], num_tokens)
