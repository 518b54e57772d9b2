"""What goes wrong while requests run: it ends those whom it concerns, and nobody waits for ever."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from adaptive_sd.engines.passes import Piece, Rows
from adaptive_sd.engines.scheduling import Request
from adaptive_sd.errors import EngineError
from adaptive_sd.types import Progress
from tests.engines.fake_cache import FakeCache
from tests.engines.test_generation import same
from tests.engines.test_scheduling import Bench, alone


def test_an_error_of_one_observer_is_its_own() -> None:
    def fail(progress: Progress) -> bool:
        raise ValueError("mine")

    bench = Bench()
    bad, good, waiting = bench.ask([1], observer=fail), bench.ask([2]), bench.ask([3])
    bench.worker.run()
    with pytest.raises(ValueError, match="mine"):
        bad.result(0)
    assert same(good.result(0), alone(7, [2])) and same(waiting.result(0), alone(7, [3]))


def test_a_failed_pass_ends_whoever_runs_and_nobody_who_waits() -> None:
    bench = Bench(num_slots=2)
    running = [bench.ask([1]), bench.ask([2, FakeCache.BROKEN, 3])]
    waiting = bench.ask([3])
    bench.worker.run()
    for future in running:
        with pytest.raises(EngineError, match="a pass failed"):
            future.result(0)
    assert same(waiting.result(0), alone(7, [3]))


class FaultyCache(FakeCache):
    """While `num_lost` it gives the rows of so many pieces too few."""

    num_lost = 1

    def evaluate(self, pieces: Sequence[Piece]) -> list[Rows]:
        return super().evaluate(pieces)[: len(pieces) - self.num_lost]


def test_what_goes_wrong_in_the_loop_ends_everybodys_wait_and_no_later_ones() -> None:
    cache = FaultyCache(7, size=400, num_slots=2)
    bench = Bench(cache=cache)
    futures = [bench.ask([i]) for i in range(4)]
    bench.worker.run()
    for future in futures:
        with pytest.raises(EngineError, match="fake: the engine failed: StopIteration"):
            future.result(0)
    cache.num_lost = 0
    later = bench.ask([1])
    bench.worker.run()
    assert same(later.result(0), alone(7, [1]))


def test_a_request_that_cannot_begin_fails_alone() -> None:
    def begin(slot: object) -> Any:
        raise ValueError("cannot begin")

    bench = Bench(num_slots=1)
    bad, good = bench.scheduler.submit(Request([1], begin)), bench.ask([2])
    bench.worker.run()
    with pytest.raises(ValueError, match="cannot begin"):
        bad.result(0)
    assert same(good.result(0), alone(7, [2]))


def test_an_observer_that_asks_its_own_engine_gets_an_error() -> None:
    """It would wait for itself."""
    bench, refused = Bench(), []

    def observe(progress: Progress) -> bool:
        for ask in (
            lambda: bench.ask([1]),
            lambda: bench.scheduler.call(int),
            bench.scheduler.close,
        ):
            with pytest.raises(EngineError, match="fake: an observer may not use the engine"):
                ask()
            refused.append(ask)
        return True

    answer = bench.ask([2], observer=observe)
    bench.worker.run()
    assert same(answer.result(0), alone(7, [2])) and refused
    bench.scheduler.call(int)  # afterwards anybody may
