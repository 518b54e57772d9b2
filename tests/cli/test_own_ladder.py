"""A ladder of one's own, from the configuration file to calibrated answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adaptive_sd.build import Cascade
from adaptive_sd.cli import run
from adaptive_sd.errors import ArtifactError
from adaptive_sd.offline.recording import Recording
from tests.engines.tiny_gguf import write_tiny_model

NUM_PROMPTS = 60
LADDER = """
artifact = "mine-artifact"

[[stage]]
name = "small"
model = "small.gguf"
style = "letter"
context = 512

[[stage]]
name = "large"
model = "large.gguf"
style = {{ choice = "letter", reading = "phrase" }}
{more}
"""
GRADER = """
import zlib


def grade(task, text):
    return float(zlib.crc32((task.id + text).encode()) % 2)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the commands run: two models, prompts, a grader and the configuration file."""
    monkeypatch.setenv("ADAPTIVE_SD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("adaptive_sd.models.home._configured", None)  # undone: it is for a process
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("small", "large")):
        write_tiny_model(Path(f"{name}.gguf"), seed=seed)
    common = {"dataset": "own", "category": "c", "answer": "A", "grader": "choice"}
    tasks = [
        common | {"id": f"q{n}", "prompt": f"Which comes after {n}?\nA. {n + 1}\nB. {n + 2}"}
        for n in range(NUM_PROMPTS)
    ]
    Path("mine.jsonl").write_text("\n".join(map(json.dumps, tasks)))
    Path("grader.py").write_text(GRADER)
    Path("ladder.toml").write_text(LADDER.format(more=""))
    return tmp_path


RECORD = ["record", "mine.jsonl", "--config", "ladder.toml", "--grader", "grader.py", "--offline"]


@pytest.mark.slow
def test_what_the_file_s_ladder_was_fitted_on_decides_on_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*RECORD, "--out", "mine.sqlite"]) == 0
    assert run(["export", "mine.sqlite", "--out", "mine.parquet"]) == 0
    assert run(["fit", "mine.parquet", "--out", "mine-artifact"]) == 0
    with Cascade.from_config("ladder.toml") as cascade:
        given = cascade.answer("Which comes after 7?\nA. 8\nB. 9")
    assert given.calibrated and given.stage in ("small", "large")
    bench = ["bench", "ladder", "mine.jsonl", "--limit", "2", "--config", "ladder.toml", "--json"]
    capsys.readouterr()
    assert run([*bench, "--out", "results"]) == 0
    assert json.loads(capsys.readouterr().out)["num_prompts"] == 2
    for more, message in (
        ("max_tokens = 8", "stage 'large' has max_tokens.*leave out"),
        ("[[stage]]\nname = 'third'\nmodel = 'small.gguf'", "small, large, not.*record --config"),
    ):
        (folder / "ladder.toml").write_text(LADDER.format(more=more))
        with pytest.raises(ArtifactError, match=message):
            Cascade.from_config("ladder.toml")
    for line, other, message in (
        ('style = "letter"', 'style = "few_shot"', 'small was fitted with style = { choice = "let'),
        ('model = "small.gguf"', 'model = "large.gguf"', "small was fitted with the file of model"),
    ):
        (folder / "ladder.toml").write_text(LADDER.format(more="").replace(line, other, 1))
        with pytest.raises(ArtifactError, match=message):
            Cascade.from_config("ladder.toml")


def test_stages_of_the_file_are_chosen_by_name_and_its_home_counts(folder: Path) -> None:
    text = LADDER.format(more="")
    Path("ladder.toml").write_text(f'home = "{folder}/other"\n{text}')
    assert run([*RECORD, "--out", "large.sqlite", "--stages", "large", "--limit", "1"]) == 0
    with Recording(folder / "large.sqlite", read_only=True) as recording:
        (stage,) = recording.stages()
    assert stage.name == "large" and stage.styles["reading"] == "phrase"
    assert (folder / "other" / "rates.json").exists() and not (folder / "home").exists()


def test_a_limit_of_one_s_own_is_refused_before_anything_runs(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("ladder.toml").write_text(LADDER.format(more="max_tokens = 8"))
    assert run([*RECORD, "--out", "mine.sqlite"]) == 1
    assert "stage 'large' has max_tokens" in capsys.readouterr().err
    assert not Path("mine.sqlite").exists()


def test_the_file_is_never_recorded_over(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*RECORD, "--out", "ladder.toml"]) == 1
    assert "which is read, would be lost" in capsys.readouterr().err
    assert Path("ladder.toml").read_text() == LADDER.format(more="")
