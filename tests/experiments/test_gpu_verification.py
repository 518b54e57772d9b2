"""The GPU measurement on a tiny shape and a CPU: what is timed is the same mechanism."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: no GPU measurement here")
pytest.importorskip("transformers", reason="transformers is not installed")

SCRIPT = Path(__file__).parents[2] / "experiments" / "gpu_verification.py"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_verification", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_a_pass_over_a_draft_chooses_what_decoding_chose(script: ModuleType) -> None:
    runner = script.Runner("tiny", CPU, prompt=12, longest=20)
    decoded = runner.decode(runner.first, 20)
    runner.rewind()
    rows = runner.verify(torch.cat([runner.first, decoded], dim=1))
    assert rows.shape == (1, 21)
    assert torch.equal(rows[:, :-1], decoded)


@pytest.mark.parametrize("num_accepted", [0, 1, 7, 18, 19, 20])
def test_what_was_not_accepted_leaves_the_cache(script: ModuleType, num_accepted: int) -> None:
    """The pass gives one more token than it accepts; a token that was chosen last is not in it."""
    runner = script.Runner("tiny", CPU, prompt=12, longest=20)
    draft = torch.ones((1, 20), dtype=torch.long)
    runner.reuse(runner.first, draft, num_accepted)
    in_cache = runner.cache.get_seq_length() - 12
    assert in_cache == 1 + max(num_accepted, 19)
    runner.rewind()
    assert runner.cache.get_seq_length() == 12


def test_an_accepted_beginning_is_expected_to_be_as_long_as_its_chance_says(
    script: ModuleType,
) -> None:
    assert script.expected_accepted(64, 1.0) == 64
    assert script.expected_accepted(512, 0.8) == 4  # 0.8 / (1 - 0.8)
    assert script.expected_accepted(2, 0.9) == 2


def test_results_have_rates_for_the_cost_model(script: ModuleType, tmp_path: Path) -> None:
    options = ["--shape", "tiny", "--device", "cpu", "--prompt", "8", "--drafts", "8", "2"]
    assert script.main([*options, "--out", str(tmp_path)]) == 0
    (path,) = tmp_path.glob("gpu_verification-*.json")
    document = json.loads(path.read_text())
    (shape,) = document["shapes"]
    assert document["device"] == "cpu" and shape["num_parameters"] > 1000
    rates = script.Rates.from_json(shape["rates"])
    assert [rows for rows, _ in rates.verify_s] == [3, 9]
    assert rates.prefill_s > 0 and rates.decode_s > 0
    assert [row["num_tokens"] for row in shape["drafts"]] == [2, 8]
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device_it_says_so(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main(["--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("error: torch finds no CUDA device")
