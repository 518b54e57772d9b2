"""`adaptive-sd bench guarantee` counts what samples promise, of texts that were not fitted on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adaptive_sd.cli import run

NUM_FIT, NUM_TEST, NUM_COPIES = 80, 40, 3


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Two stages, the second always right; each prompt to test on is there NUM_COPIES times."""
    lines = ["prompt_id,split,prompt,stage,stage_index,quality,cost,latency_s"]
    for n in range(NUM_FIT + NUM_COPIES * NUM_TEST):
        text = n if n < NUM_FIT else NUM_FIT + n % NUM_TEST
        part = "fit" if n < NUM_FIT else "test"
        for k, (name, quality) in enumerate((("a", text % 2), ("b", 1))):
            lines.append(f"{n},{part},question {text},{name},{k},{quality},{1 + 3 * k},{2 + 6 * k}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    return str(tmp_path / "table.csv")


def test_every_promise_is_counted_and_the_document_stays(
    path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results"
    asked = ["bench", "guarantee", path, "--target", "0.9", "--prompts", "30", "--prompts", "60"]
    assert run([*asked, "--draws", "7", "--out", str(out), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (written,) = out.glob("guarantee-*.json")
    kept = json.loads(written.read_text())
    assert kept["rows"] == document["rows"] and written.with_suffix(".png").exists()
    assert document["num_prompts"] == NUM_TEST and document["table"] == "table.csv"
    rows = document["rows"]
    assert [row["num_prompts"] for row in rows] == [30] * 8 + [60] * 8
    starts = "".join(row["claim"][0] for row in rows[:8])
    assert starts == "0aaaaaat"  # a share, mean costs, latencies ("at most"), the highest share
    for row in rows:
        assert row["num_broken"] <= row["num_certified"] <= row["num_draws"] == 7
    assert all(row["num_certified"] == 7 for row in rows if row["claim"].startswith("0.9"))
