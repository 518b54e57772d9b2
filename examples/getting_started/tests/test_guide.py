"""The guide's Python snippets run from this folder; only model names are replaced."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from adaptive_sd.models.catalogue import find
from adaptive_sd.models.store import file_of

FOLDER = Path(__file__).parents[1]
LOCAL_MODEL = "smollm2-135m"
LOCAL_NAMES = {"meta-llama/Llama-3.2-8B": LOCAL_MODEL}
SNIPPETS = re.findall(
    r"^```python\n(.*?)^```", (FOLDER / "GUIDE.md").read_text("utf-8"), re.DOTALL | re.MULTILINE
)

needs_model = pytest.mark.skipif(
    not file_of(find(LOCAL_MODEL)).exists(),
    reason=f"{LOCAL_MODEL} is not cached: adaptive-sd models pull {LOCAL_MODEL}",
)


def needs(module: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(module) is None
    return pytest.mark.skipif(missing, reason=f"{module} is not installed")


def snippet(mark: str) -> str:
    """The one snippet that contains `mark`."""
    (found,) = [text for text in SNIPPETS if mark in text]
    for name, local in LOCAL_NAMES.items():
        found = found.replace(name, local)
    return found


def run(code: str, *, folder: Path = FOLDER) -> str:
    """What `code` prints, run as a script whose imports start at the guide's folder."""
    environment = os.environ | {"PYTHONPATH": str(FOLDER), "MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_snippet_has_a_test() -> None:
    assert len(SNIPPETS) == 6


@needs_model
def test_a_stage_answers() -> None:
    out = run(snippet("stage_8b.generate"))
    assert out.startswith("Output: ")
    assert out.removeprefix("Output: ").strip()


@needs("torch")
def test_an_unfitted_predictor_gives_a_chance_for_a_tensor() -> None:
    chance = run("import torch\n" + snippet("dummy_features"))
    assert 0 <= float(chance.removeprefix("Predicted probability: ")) <= 1


def test_an_unfitted_predictor_gives_a_chance_for_an_array() -> None:
    code = snippet("dummy_features").replace(
        "torch.tensor(dummy_features, dtype=torch.float32)", "dummy_features"
    )
    assert "torch" not in code
    chance = run(code)
    assert 0 <= float(chance.removeprefix("Predicted probability: ")) <= 1


@pytest.mark.parametrize(("lam", "stage"), [("1.0", 0), ("10.0", 1), ("30.0", 2), ("50.0", 3)])
def test_a_larger_lambda_stops_later(lam: str, stage: int) -> None:
    code = snippet("optimal_stopping_rule").replace("lam = 1.0", f"lam = {lam}")
    assert run(code).startswith(f"Optimal stopping stage: {stage}\nExpected costs: ")


def test_the_plot_reads_the_results(tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    (results / "poc_results.json").write_text(
        json.dumps({"latencies": [120.0, 340.0], "qualities": [0.0, 1.0]})
    )
    run(snippet("plt.scatter"), folder=tmp_path)
    assert (results / "tradeoff.png").read_bytes().startswith(b"\x89PNG")


def test_the_importance_of_features_is_found() -> None:
    fitted = """
import numpy as np
from src.models.predictor import QualityPredictor
rng = np.random.default_rng(0)
X_test = rng.normal(size=(200, 3))
y_test = (X_test[:, 1] > 0).astype(int)
predictor = QualityPredictor(feature_dim=3).fit(X_test, y_test)
"""
    check = "\nassert importance.importances_mean.argmax() == 1\n"
    out = run(fitted + snippet("permutation_importance") + check)
    assert out.startswith("Feature importance:")


@needs("bitsandbytes")
@needs("transformers")
def test_the_quantisation_is_accepted() -> None:
    given = "import torch\nfrom transformers import BitsAndBytesConfig\n"
    run(given + snippet("bnb_config") + "\nassert bnb_config.load_in_4bit\n")
