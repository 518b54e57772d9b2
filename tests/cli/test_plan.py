"""`adaptive-sd plan`: from a table or from traces, one document, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adaptive_sd.artifact import Artifact, save_artifact
from adaptive_sd.cascade import Cascade
from adaptive_sd.cli import run
from adaptive_sd.judge import FittedJudge
from adaptive_sd.trace_store import TraceStore
from tests.ladder import RATES, SKILL, make_stages, make_table, make_tasks


@pytest.fixture
def folder(tmp_path: Path, artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ladder with prices in seconds, a table of it, and its traces in the home folder."""
    monkeypatch.setenv("ADAPTIVE_SD_HOME", str(tmp_path / "home"))
    save_artifact(artifact, tmp_path / "artifact")
    make_table(tmp_path, make_tasks(40, seed=3))
    text = f'artifact = "{tmp_path / "artifact"}"\n'
    for name in SKILL:
        price = f"per_million_in = {1e6 * RATES[name].prefill_s}"
        price += f", per_million_out = {1e6 * RATES[name].decode_s}"
        text += f'[[stage]]\nname = "{name}"\nmodel = "{name}"\n'
        text += f'cost = {{ unit = "s", {price} }}\n'
    (tmp_path / "ladder.toml").write_text(text)
    return tmp_path


def options(folder: Path, *more: str, table: bool = True) -> list[str]:
    given = ["plan", "--rps", "20", "--config", str(folder / "ladder.toml"), *more]
    return [*given, "--table", str(folder / "table.parquet")] if table else given


def document(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_table_and_the_traces_of_the_same_answers_tell_of_the_same_ways(
    folder: Path, artifact: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(options(folder, "--json")) == 0
    told = document(capsys)
    store = TraceStore(folder / "home" / "traces.sqlite")
    cascade = Cascade(make_stages(folder), FittedJudge(artifact))
    for task in make_tasks(40, seed=3):
        store.append(task.prompt, cascade.answer(task.prompt))
    assert run(options(folder, "--json", table=False)) == 0
    live = document(capsys)
    assert told["source"] != live["source"]
    assert told["escalation_rate"] == pytest.approx(live["escalation_rate"], abs=0.1)
    for here, there in zip(told["stages"], live["stages"], strict=True):
        assert here["name"] == there["name"]
        assert here["share"] == pytest.approx(there["share"], abs=0.1)


def test_what_is_printed_is_what_the_document_says(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--replica", "large slots=8 usd=2.5", "--replica", "small usd=1"]
    more += ["--replica", "middle usd=1", "--utilisation", "0.5"]
    assert run(options(folder, *more, "--json")) == 0
    found = document(capsys)
    assert run(options(folder, *more)) == 0
    out = capsys.readouterr().out
    stages = found["stages"]
    for stage in stages:
        (line,) = [line for line in out.splitlines() if line.startswith(stage["name"])]
        assert line.split()[3:5] == [str(stage["slots"]), str(stage["replicas"])]
        assert stage["utilisation"] < 0.56
    assert f"{found['latency_p95_s']:.3g} s" in out
    assert found["usd_per_hour"] == sum(
        stage["replicas"] * (2.5 if stage["name"] == "large" else 1) for stage in stages
    )


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--rps", "0"], 2, "--rps is 0"),
        (["--utilisation", "1"], 2, "between 0 and 1"),
        (["--replica", "larg slots=2"], 2, "no stage 'larg'"),
        (["--replica", "large slot=2"], 2, "slots=64"),
        (["--replica", "large slots=two"], 2, "slots=64"),
        (["--replica", "large slots=0"], 1, "slots of 'large' is 0"),
        (["--p95", "nan"], 2, "--p95 is nan"),
        (["--p95", "inf"], 2, "--p95 is inf"),
        (["--p95", "-1"], 2, "--p95 is -1"),
        (["--p95", "0.001"], 1, "without any waiting"),
    ],
)
def test_what_cannot_be_planned_is_refused_in_a_line(
    folder: Path, more: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(options(folder, *more)) == code
    assert said in " ".join(capsys.readouterr().err.split())


def test_without_answers_or_a_table_it_says_what_to_give(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(options(folder, table=False)) == 1
    err = capsys.readouterr().err
    assert "0 prompts or answers of this ladder" in err and "--table" in err
    assert run(options(folder, "--lambda", "1", table=False)) == 2
    text = (folder / "ladder.toml").read_text()
    for old, new, said in (
        ('unit = "s"', 'unit = "usd"', "tell no seconds"),
        ('name = "large"', 'name = "huge"', "has small, middle, huge"),
    ):
        (folder / "ladder.toml").write_text(text.replace(old, new))
        assert run(options(folder)) == 1 and said in capsys.readouterr().err
