"""Rates that were measured beside other work are said to be."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import pytest

from adaptive_sd.engines import speed
from adaptive_sd.errors import CancelledError


class Clocked:
    """A sequence whose passes take 0.1 s a token, of which its threads get a share."""

    size = 64

    def __init__(self, share: float, num_threads: int) -> None:
        self.share = share
        self.num_threads = num_threads
        self.now = self.used = 0.0

    def truncate(self, length: int) -> None: ...

    def extend(self, tokens: Sequence[int]) -> None:
        self.now += 0.1 * len(tokens)
        self.used += 0.1 * len(tokens) * self.share * self.num_threads

    read = extend
    perf_counter = property(lambda self: lambda: self.now)
    process_time = property(lambda self: lambda: self.used)


def measure(share: float, monkeypatch: pytest.MonkeyPatch, num_threads: int = 2) -> list[str]:
    """What is warned of."""
    clocked: Any = Clocked(share, num_threads or 8)
    monkeypatch.setattr(speed, "time", clocked)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rates = speed.measure_rates(clocked, lambda: True, num_threads=num_threads)
    assert rates.decode_s == pytest.approx(0.1) and rates.prefill_s == pytest.approx(0.1)
    return [str(warning.message) for warning in caught]


def test_of_a_busy_machine_is_warned_and_of_an_idle_one_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert measure(0.97, monkeypatch) == []
    (told,) = measure(0.5, monkeypatch)
    assert "took 50% of the processor" in told and "doctor --measure" in told
    assert "varied" not in told


def test_a_gpu_leaves_the_processor_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert measure(0.0, monkeypatch, num_threads=0) == []


def test_an_interrupted_measurement_raises() -> None:
    clocked: Any = Clocked(1.0, 1)
    with pytest.raises(CancelledError, match="interrupted"):
        speed.measure_rates(clocked, lambda: False, num_threads=1)


def test_a_busy_moment_is_told_of_and_spoils_no_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever pass is slowed."""

    class Slowed(Clocked):
        def extend(self, tokens: Sequence[int]) -> None:
            self.now += 0.001 * len(tokens) * (2.0 if self.num_passes in self.slow else 1.0)
            self.used = 2 * self.now
            self.num_passes += 1

        read = extend
        num_passes = 0
        slow: range = range(0)

    plain: Any = Slowed(1.0, 2)
    monkeypatch.setattr(speed, "time", plain)
    wanted = speed.measure_rates(plain, lambda: True, num_threads=2)
    num_told = 0
    for first in range(plain.num_passes):
        busy: Any = Slowed(1.0, 2)
        busy.slow = range(first, first + 5)
        monkeypatch.setattr(speed, "time", busy)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = speed.measure_rates(busy, lambda: True, num_threads=2)
        assert found.prefill_s == pytest.approx(wanted.prefill_s)
        assert found.decode_s == pytest.approx(wanted.decode_s)
        for (rows, took_s), (_, best_s) in zip(found.verify_s, wanted.verify_s, strict=True):
            assert took_s == pytest.approx(best_s), rows
        told = [str(warning.message) for warning in caught]
        assert all("it varied by a factor of 2.0" in words for words in told)
        num_told += bool(told)
    assert num_told > plain.num_passes / 3
