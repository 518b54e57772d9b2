"""A ladder of a GGUF file and a checkpoint: recorded, fitted, answered with, examined."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adaptive_sd.build import Cascade
from adaptive_sd.cli import run
from adaptive_sd.data.outcomes import read_outcomes
from tests.engines.tiny_gguf import write_tiny_model

pytest.importorskip("torch", reason='torch is not here: pip install ".[transformers]"')
pytest.importorskip("transformers", reason='not here: pip install ".[transformers]"')

from tests.engines.tiny_checkpoint import write_tiny_checkpoint

LADDER = """
lambda = 1000000
[[stage]]
name = "small"
model = "small.gguf"
style = "letter"
context = 512

[[stage]]
name = "large"
engine = "transformers"
model = "large"
style = "letter"
device_map = "cpu"
context = 512
threads = 1
"""
QUESTION = "Which comes after 7?\nA. 8\nB. 9"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the commands run: two models, prompts and the configuration file."""
    monkeypatch.setenv("ADAPTIVE_SD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("adaptive_sd.models.home._configured", None)  # undone: it is for a process
    monkeypatch.chdir(tmp_path)
    write_tiny_model(Path("small.gguf"))
    write_tiny_checkpoint(Path("large"), context=1024)
    common = {"dataset": "own", "category": "c", "answer": "A", "grader": "choice"}
    tasks = [common | {"id": f"q{n}", "prompt": QUESTION.replace("7", str(n))} for n in range(4)]
    Path("mine.jsonl").write_text("\n".join(map(json.dumps, tasks)))
    Path("ladder.toml").write_text(LADDER)
    return tmp_path


def test_a_checkpoint_is_a_stage_like_any_other(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor", "--json", "--config", "ladder.toml"]) == 0
    stages = json.loads(capsys.readouterr().out)["stages"]
    assert [(s["engine"], s["error"]) for s in stages] == [("llama_cpp", ""), ("transformers", "")]
    record = ["record", "mine.jsonl", "--config", "ladder.toml", "--offline"]
    assert run([*record, "--out", "mine.sqlite"]) == 0
    assert run(["export", "mine.sqlite", "--out", "mine.parquet"]) == 0
    outcomes = read_outcomes(Path("mine.parquet"))
    assert [stage.name for stage in outcomes.stages] == ["small", "large"]
    assert len(outcomes.prompt_ids) == 4
    with Cascade.from_config("ladder.toml") as cascade:
        given = cascade.answer(QUESTION)
    assert [step.stage for step in given.trace][-1] == "large" and not given.calibrated
    assert given.cost_unit == "s" and given.cost > 0
    assert cascade.stages[0].model_hash != cascade.stages[1].model_hash


def test_what_is_wrong_with_a_checkpoint_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "large" / "config.json").unlink()
    assert run(["doctor", "--json", "--config", "ladder.toml"]) == 1
    error = json.loads(capsys.readouterr().out)["stages"][1]["error"]
    assert "has not both a config.json and *.safetensors" in error
    assert run(["answer", "hello", "--config", "ladder.toml"]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: large: has not both")
