"""Tuning: the cheapest file that keeps quality, on real files and as a rule."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.cli.models import _tuning_lines
from adaptive_sd.data.tasks import Task
from adaptive_sd.decision.calibration import Interval
from adaptive_sd.errors import DataError
from adaptive_sd.forms import Form
from adaptive_sd.models.formats import requantise
from adaptive_sd.offline.tune import LEAST_GAIN, Measured, OfForm, Tuning, choose, tune
from adaptive_sd.types import Rates
from tests.engines.tiny_gguf import write_tiny_model


def measured(cost: float, first_cost: float, difference: float, error: float = 1.0) -> Measured:
    flat = Interval(difference, difference - error, difference + error)
    ratio = Interval(cost / first_cost, cost / first_cost, cost / first_cost)
    rates = Rates(0.1, 0.1)
    forms = {Form.CHOICE: OfForm(20, flat)}
    return Measured("Q", Path("q"), "0", 1, rates, 0.5 + difference, cost, flat, ratio, forms)


shares = st.floats(0.1, 2.0)
differences = st.floats(-0.5, 0.5)


@given(st.lists(st.tuples(shares, differences, st.floats(0, 0.1)), max_size=4), st.floats(0, 0.2))
def test_no_file_that_keeps_quality_and_saves_enough_is_cheaper(
    others: list[tuple[float, float, float]], tolerance: float
) -> None:
    files = [measured(1.0, 1.0, 0.0), *(measured(c, 1.0, *d) for c, *d in others)]
    kept = choose(files, tolerance)
    good = [f for f in files[1:] if f.difference.value >= -tolerance and not f.difference.high < 0]
    saving = [f.cost for f in good if f.cost <= 1 - LEAST_GAIN]
    assert (kept is None) == (not saving)
    assert kept is None or (kept.cost == min(saving) and kept in good)


def test_a_loss_that_is_shown_is_refused_however_small() -> None:
    first, small_loss = measured(1.0, 1.0, 0.0), measured(0.5, 1.0, -0.01, error=0.005)
    assert choose([first, small_loss], 0.03) is None
    assert small_loss.flaw(0.03) == "loses quality beyond chance"
    assert choose([first, measured(0.5, 1.0, -0.01, error=0.02)], 0.03) is not None


def test_what_so_few_tasks_cannot_tell_is_said() -> None:
    """Also where no task went otherwise: of 56, one in nineteen may."""
    fetched, alike, worse = (
        measured(cost, 1.0, difference, error)
        for cost, difference, error in ((1.0, 0.0, 0.0), (0.5, 0.0, 0.0), (0.4, -0.02, 0.1))
    )
    found = Tuning(56, 0.03, (fetched, alike, worse), worse)
    assert found.error(alike) == found.most_lost(alike) == pytest.approx(3 / 56)
    assert found.error(worse) == pytest.approx(0.1)
    assert found.most_lost(worse) == pytest.approx(0.12)
    *rows, measured_on, first, second, pays = _tuning_lines(found).splitlines()
    assert len(rows) == 4 and rows[2].endswith("may be used")
    assert measured_on == "measured on 56 tasks:"
    assert "known to +- 0.054; a loss of up to 0.054 is not ruled out; choice" in first
    assert (
        "known to +- 0.100; a loss of up to 0.120 is not ruled out; choice -0.020 on 20" in second
    )
    assert pays.startswith("Q pays")


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
    assert sum(part.num_tasks for part in other.forms.values()) == 2
    total = sum(part.num_tasks * part.difference.value for part in other.forms.values())
    assert total / 2 == pytest.approx(other.difference.value)


def test_tasks_that_cannot_be_graded_are_refused(tmp_path: Path) -> None:
    source = write_tiny_model(tmp_path / "tiny.gguf")
    with pytest.raises(DataError, match="graded"):
        tune([("as fetched", source)], [Task("a", "d", "c", "Hello", "", "none")])
