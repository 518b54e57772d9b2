"""The concurrency bench on the tiny model: both ways give the same answers; no time is asserted."""

from __future__ import annotations

from pathlib import Path

from adaptive_sd.engines.llama_cpp import LlamaCppEngine
from adaptive_sd.offline.benches.concurrency import ConcurrencyBench, Throughput, bench_concurrency
from tests.engines.test_concurrency import BATCH_NOISE


def test_both_ways_are_the_same_answers(tiny_path: Path) -> None:
    opened: list[int] = []

    def open_engine(slots: int) -> LlamaCppEngine:
        opened.append(slots)
        return LlamaCppEngine(tiny_path, name="tiny", model_hash="0", context=256, slots=slots)

    result = bench_concurrency(open_engine, 5, 20)
    assert opened == [5, 1]
    assert result.largest_margin <= 2 * BATCH_NOISE
    if result.equal_share == 1.0:
        assert result.alone.num_tokens == result.together.num_tokens
    assert set(result.to_json()) >= {"ratio", "equal_share", "alone", "together"}


def test_ratios_are_of_tokens_a_second() -> None:
    alone = Throughput(num_tokens=100, wall_s=10.0, cpu_s=8.0, decode_s=5.0)
    together = Throughput(num_tokens=200, wall_s=10.0, cpu_s=4.0, decode_s=2.0)
    result = ConcurrencyBench(2, 100, alone, together, 1.0, 0.0)
    assert (result.ratio, result.decode_ratio, result.cpu_ratio) == (2.0, 5.0, 4.0)
