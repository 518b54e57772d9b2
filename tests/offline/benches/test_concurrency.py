"""The concurrency bench on the tiny model: both ways give the same answers; no time is asserted."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.engines.llama_cpp import LlamaCppEngine
from adaptive_sd.offline.benches.concurrency import (
    NUM_ROUNDS,
    ConcurrencyBench,
    Round,
    Throughput,
    bench_concurrency,
    covered_s,
)
from adaptive_sd.types import Rates
from tests.engines.margin import TINY_NOISE


def test_both_ways_are_the_same_answers(tiny_path: Path) -> None:
    opened: list[int] = []

    def open_engine(slots: int) -> LlamaCppEngine:
        opened.append(slots)
        return LlamaCppEngine(tiny_path, name="tiny", model_hash="0", context=256, slots=slots)

    result = bench_concurrency(open_engine, 4, 12)
    assert opened == [4, 1] * NUM_ROUNDS
    assert result.largest_margin <= 2 * TINY_NOISE
    if result.equal_share == 1.0:
        assert len({r.alone.num_tokens for r in result.rounds}) == 1
    assert set(result.to_json()) >= {"ratio", "equal_share", "rounds"}
    assert result.draft_ratio is None


def test_with_rates_all_are_asked_once_more_with_drafts(tiny_path: Path) -> None:
    opened: list[int] = []

    def open_engine(slots: int) -> LlamaCppEngine:
        opened.append(slots)
        return LlamaCppEngine(tiny_path, name="tiny", model_hash="0", context=256, slots=slots)

    result = bench_concurrency(open_engine, 2, 8, rates=Rates(0.1, 1.0))
    assert opened == [2, 1, 2] * NUM_ROUNDS
    assert result.draft_ratio is not None and result.draft_ratio.low > 0


def test_ratios_are_of_tokens_a_second() -> None:
    """The median of the rounds, and their range."""
    alone = Throughput(num_tokens=100, wall_s=10.0, cpu_s=8.0, decode_s=5.0)
    rounds = [
        Round(alone, Throughput(200, wall_s, 4.0, 2.0), Throughput(200, 5.0, 4.0, 2.0))
        for wall_s in (10.0, 4.0, 5.0)
    ]
    result = ConcurrencyBench(2, 100, tuple(rounds), 1.0, 0.0)
    assert result.ratio == (4.0, 2.0, 5.0)
    assert (result.decode_ratio.median, result.cpu_ratio.median) == (5.0, 4.0)
    assert result.draft_ratio == (1.0, 0.8, 2.0)
    assert f"{result.ratio:.1f}" == "4.0 [2.0, 5.0]"


spans = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)), max_size=8)


@given(spans)
def test_the_decoding_of_several_counts_once(spans: list[tuple[int, int]]) -> None:
    found = [(float(begin), float(begin + length)) for begin, length in spans]
    ticks = {t for begin, length in spans for t in range(begin, begin + length)}
    assert covered_s(found) == len(ticks)
