"""Tuning: the cheapest file that keeps quality, on real files and as a rule."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.data.tasks import Task
from adaptive_sd.decision.calibration import Interval
from adaptive_sd.errors import DataError
from adaptive_sd.models.formats import requantise
from adaptive_sd.offline.tune import LEAST_GAIN, Measured, choose, tune
from adaptive_sd.types import Rates
from tests.engines.tiny_gguf import write_tiny_model


def measured(cost: float, first_cost: float, difference: float) -> Measured:
    flat = Interval(difference, difference, difference)
    ratio = Interval(cost / first_cost, cost / first_cost, cost / first_cost)
    rates = Rates(0.1, 0.1)
    return Measured("Q", Path("q"), "0", 1, rates, 0.5 + difference, cost, flat, ratio)


shares = st.floats(0.1, 2.0)
differences = st.floats(-0.5, 0.5)


@given(st.lists(st.tuples(shares, differences), max_size=4), st.floats(0, 0.2))
def test_no_file_that_keeps_quality_and_saves_enough_is_cheaper(
    others: list[tuple[float, float]], tolerance: float
) -> None:
    files = [measured(1.0, 1.0, 0.0), *(measured(c, 1.0, d) for c, d in others)]
    kept = choose(files, tolerance)
    good = [f.cost for f in files[1:] if f.difference.value >= -tolerance]
    saving = [cost for cost in good if cost <= 1 - LEAST_GAIN]
    assert (kept is None) == (not saving)
    assert kept is None or (kept.cost == min(saving) and kept.difference.value >= -tolerance)


def test_files_are_measured_on_the_same_tasks(tmp_path: Path) -> None:
    source = write_tiny_model(tmp_path / "tiny.gguf")
    made = tmp_path / "tiny.Q8_0.gguf"
    requantise(source, "Q8_0", made)
    tasks = [
        Task(f"t{i}", "d", "c", f"Describe the number {i}.", str(i), grader)
        for i, grader in enumerate(["number", "none", "contains"])
    ]
    steps: list[tuple[int, int]] = []
    found = tune(
        [("as fetched", source), ("Q8_0", made)],
        tasks,
        tolerance=1.0,
        on_progress=lambda done, total: steps.append((done, total)),
    )
    first, other = found.measured
    assert found.num_tasks == 2  # one is not graded
    assert steps == [(n, 6) for n in range(6)]
    assert first.difference == (0, 0, 0) and first.ratio == (1, 1, 1)
    assert other.quality - first.quality == pytest.approx(other.difference.value)
    assert other.cost / first.cost == pytest.approx(other.ratio.value)
    assert (other.bytes, len(other.sha256)) == (made.stat().st_size, 64)
    assert found.kept in (None, other)


def test_tasks_that_cannot_be_graded_are_refused(tmp_path: Path) -> None:
    source = write_tiny_model(tmp_path / "tiny.gguf")
    with pytest.raises(DataError, match="graded"):
        tune([("as fetched", source)], [Task("a", "d", "c", "Hello", "", "none")])
