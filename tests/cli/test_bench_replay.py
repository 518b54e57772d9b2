"""`adaptive-sd bench replay` at a tiny size: every row is there; no time is asserted."""

from __future__ import annotations

import json

import pytest

from adaptive_sd.cli import run
from adaptive_sd.offline.scale import ScaleRow, growths


def row(work: str, num_prompts: int, cpu_s: float) -> ScaleRow:
    return ScaleRow(work, num_prompts, 5, None, cpu_s, cpu_s, 100.0)


def test_growth_is_the_power_between_the_two_largest_sizes() -> None:
    rows = [row("replay", n, s) for n, s in ((10, 5.0), (100, 6.0), (1000, 60.0))]
    assert growths([*rows, row("fit", 10, 1.0)]) == {"replay": pytest.approx(1.0)}
    assert growths([row("fit", 10, 1.0), row("fit", 100, 100.0)]) == {"fit": pytest.approx(2.0)}
    assert growths(rows[:1]) == {}


@pytest.mark.slow
def test_a_tiny_bench_prints_one_document(capfd: pytest.CaptureFixture[str]) -> None:
    assert (
        run(["bench", "replay", "--max-prompts", "100", "--max-fit-prompts", "60000", "--json"])
        == 0
    )
    document = json.loads(capfd.readouterr().out)
    assert [(r["work"], r["num_prompts"]) for r in document["rows"]] == [
        ("replay", 100),
        ("fit", 100),
    ]
    replayed, fitted = document["rows"]
    assert replayed["num_lambdas"] >= 10 and fitted["num_lambdas"] is None
    assert all(r["peak_mib"] > 10 and r["cpu_s"] > 0 for r in document["rows"])
