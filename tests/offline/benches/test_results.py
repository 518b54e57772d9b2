"""What a bench leaves behind: documents that say which machine it was, and plots."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from adaptive_sd.decision.calibration import Interval
from adaptive_sd.offline.benches.draft import Agreeing
from adaptive_sd.offline.benches.draft_summary import summarise
from adaptive_sd.offline.benches.ladder import Comparison, Side
from adaptive_sd.offline.benches.methods import Answered
from adaptive_sd.offline.benches.plots import plot_drafts, plot_ladder
from adaptive_sd.offline.benches.results import write_results
from tests.offline.benches.test_draft import run_of

PNG = b"\x89PNG"


def test_results_of_two_times_stand_beside_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for hour in (1, 2):
        when = datetime(2026, 11, 25, hour)
        write_results(tmp_path, "draft", {"hour": hour}, PNG, now=when)
    files = sorted(tmp_path.glob("draft-*.json"))
    assert [json.loads(f.read_text())["hour"] for f in files] == [1, 2]
    assert all(f.with_suffix(".png").read_bytes() == PNG for f in files)
    assert json.loads(files[0].read_text())["num_cores"] >= 1
    assert str(files[1]) in capsys.readouterr().err


def test_summaries_become_documents_and_plots() -> None:
    runs = [run_of(i, {"plain": 1.0 + i, "reuse": 2.0}, "ab"[i % 2]) for i in range(4)]
    sets = summarise(runs, 0.1, rng=np.random.default_rng(0))
    assert json.loads(json.dumps([asdict(s) for s in sets], allow_nan=False))[2]["name"] == "all"
    assert plot_drafts(sets, "large, drafts of small").startswith(PNG)


def test_an_agreeing_draft_is_summed_where_there_is_one() -> None:
    short, long = (run_of(i, {"plain": 1.0}) for i in range(2))
    answers = Answered("t", (1,), 4.0), Answered("t", (1,), 1.0, 63, 63, 1)
    runs = [short, replace(long, agreeing=Agreeing(*answers))]
    (found,) = summarise(runs, 0.1, rng=np.random.default_rng(0))
    assert found.agreeing is not None and found.agreeing.num_prompts == 1
    assert (found.agreeing.generated_s, found.agreeing.verified_s) == (4, 1)
    assert found.agreeing.ratio.value == 0.25 and found.agreeing.num_spans == 1


def test_a_ladder_has_a_plot() -> None:
    even = Interval(1.0, 0.9, 1.2)
    sides = Side(0.5, 1.0, 1.0), Side(0.6, 2.0, 2.0)
    result = Comparison(4, 0, *sides, Interval(-0.1, -0.2, 0.1), even, even, {"small": 1.0}, 0.5)
    assert plot_ladder(result).startswith(PNG)
