"""The measurement of the transformers engine on a tiny checkpoint: it measures what it says."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("torch", reason='torch is not here: pip install ".[transformers]"')
pytest.importorskip("transformers", reason='not here: pip install ".[transformers]"')

from tests.engines.tiny_checkpoint import write_tiny_checkpoint

SCRIPT = Path(__file__).parents[2] / "experiments" / "transformers_verification.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("transformers_verification", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_models_are_measured_with_the_answer_as_the_draft(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_tiny_checkpoint(tmp_path / "tiny")
    options = ["--weights", "fp32", "--device-map", "cpu", "--tokens", "20", "--repeats", "1"]
    missing = str(tmp_path / "missing")
    out = ["--out", str(tmp_path / "results")]
    assert script.main(["--model", str(folder), missing, *options, *out]) == 1
    assert "missing" in capsys.readouterr().err
    (path,) = (tmp_path / "results").glob("transformers_verification-*.json")
    (row,) = json.loads(path.read_text())["rows"]
    assert row["weights"] == "fp32" and row["num_tokens"] == 20 and row["same_text"]
    assert script.Rates.from_json(row["rates"]).decode_s > 0
    assert row["ratio"] == pytest.approx(row["verified_s"] / row["plain_s"])
