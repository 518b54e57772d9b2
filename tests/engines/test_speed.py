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


def test_a_gpu_leaves_the_processor_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert measure(0.0, monkeypatch, num_threads=0) == []


def test_an_interrupted_measurement_raises() -> None:
    clocked: Any = Clocked(1.0, 1)
    with pytest.raises(CancelledError, match="interrupted"):
        speed.measure_rates(clocked, lambda: False, num_threads=1)
