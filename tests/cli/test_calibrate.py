"""`adaptive-sd calibrate`: from lines of text to an artifact that says what its quality is."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from adaptive_sd.build import Cascade
from adaptive_sd.cli import run
from adaptive_sd.cli.explain import explain
from tests.engines.tiny_gguf import write_tiny_model

NUM_PROMPTS = 54
LADDER = """
{artifact}

[[stage]]
name = "small"
model = "small.gguf"
style = {{ choice = "letter", reading = "phrase", short = "phrase" }}
context = 512

[[stage]]
name = "large"
model = "large.gguf"
style = {{ choice = "letter", reading = "phrase", short = "phrase" }}
context = 512
"""
COMMAND = ["calibrate", "mine.txt", "--out", "mine", "--config", "ladder.toml", "--offline"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command runs: two models, prompts and the configuration file."""
    monkeypatch.setenv("ADAPTIVE_SD_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("adaptive_sd.models.home._configured", None)  # undone: it is for a process
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("small", "large")):
        write_tiny_model(Path(f"{name}.gguf"), seed=seed)
    write_prompts(NUM_PROMPTS)
    Path("ladder.toml").write_text(LADDER.format(artifact=""))
    return tmp_path


def write_prompts(count: int) -> None:
    Path("mine.txt").write_text("\n\n".join(f"Who wrote {n}?" for n in range(count)))


def outcomes() -> list[tuple[object, ...]]:
    with closing(sqlite3.connect("mine.sqlite")) as database:
        return sorted(database.execute("SELECT * FROM outcome").fetchall(), key=repr)


@pytest.mark.slow
def test_prompts_become_an_artifact_whose_answers_say_that_they_agree(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*COMMAND, "--json"]) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document["agreement_with"] == document["fit"]["agreement_with"] == "large"
    assert "fitting" in err and 'artifact = "mine"' in err
    assert document["num_prompts"] + document["left_out"]["unanswered"] == NUM_PROMPTS
    Path("ladder.toml").write_text(LADDER.format(artifact='artifact = "mine"'))
    with Cascade.from_config("ladder.toml") as cascade:
        given = cascade.answer("Who wrote 7?")
        told = explain(given, cascade)
    assert given.calibrated and given.to_json()["agreement_with"] == "large"
    assert "· agreement with large " in told and "not the chance of being right" in told


def told(err: str) -> list[str]:
    """Without how far it is, which depends on where it was interrupted."""
    return [line for line in err.splitlines() if not line.startswith("recording: ")]


def test_a_recording_goes_on_where_it_ended_and_is_read_as_it_is(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The scripted answers to choices cannot be read: too few are left to be fitted on."""
    passage = "The sea is wide and deep, and ships go over it. " * 5
    texts = ("Who wrote {}?", "Is it {}?\nA. x\nB. y", passage + "\n\nWho has {} ships?")
    prompts = [texts[n % 3].format(n) for n in range(NUM_PROMPTS)]
    rows = [json.dumps({"prompt": text, "answer": "unread"}) for text in prompts]
    Path("mine.jsonl").write_text("\n".join(rows))
    command = ["calibrate", "mine.jsonl", *COMMAND[2:]]
    assert run(command) == 1
    first = capsys.readouterr().err
    assert f"recording: {2 * NUM_PROMPTS} of {2 * NUM_PROMPTS}" in first
    assert "36 prompts that can be used" in first
    before = outcomes()
    assert len({row[:2] for row in before}) == len(before) == 2 * NUM_PROMPTS
    with closing(sqlite3.connect("mine.sqlite")) as database, database:
        database.execute("DELETE FROM outcome WHERE rowid > 40")  # killed, at any moment
    Path("mine.jsonl").write_text("\n".join(reversed(rows)))
    assert run(command) == 1
    assert told(capsys.readouterr().err) == told(first)
    after = outcomes()
    assert [row[:4] for row in after] == [row[:4] for row in before]
    assert sum(row in before for row in after) >= 40  # their measured seconds too
    assert run(["calibrate", "mine.sqlite", "--out", "mine"]) == 1
    assert capsys.readouterr().err == first.splitlines(keepends=True)[-1]
    Path("mine.jsonl").write_text("\n".join(rows[1:]))
    assert run(command) == 1
    assert capsys.readouterr().err != first and not Path("mine").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["mine.txt", "--target-quality", "0.9"], 1, "54 prompts .* needs at least 72,"),
        (["few.txt"], 1, "3 prompts that can be used; a calibration needs at least 50,"),
        (["ladder.toml"], 1, "ends in .txt .one prompt a line. or .jsonl"),
        (["none.parquet", "--stages", "a,b"], 2, "has its own stages"),
        (["none.parquet"], 1, "none.parquet: no such file"),
        (["none.sqlite"], 1, "no such recording"),
        (["none.txt"], 1, r"none.txt: cannot be read \(No such file or directory\)"),
        (["mine.txt", "--stages", "smollm2-135m"], 1, "one stage agrees with itself"),
    ],
)
def test_what_cannot_be_calibrated_on_is_one_line_and_nothing_is_written(
    folder: Path,
    arguments: list[str],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("few.txt").write_text("Who?\nWhy?\n\nWho?\nWhere?\n")
    before = sorted(folder.rglob("*"))
    assert run(["calibrate", *arguments, "--out", "mine"]) == code
    err = capsys.readouterr().err
    assert re.search(message, err), err
    assert code == 2 or err.count("\n") == 1
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("out", [".", ".."])
def test_an_artifact_has_a_name_beside_which_its_recording_lies(
    folder: Path, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(folder.rglob("*"))
    assert run(["calibrate", "mine.txt", "--out", out]) == 1
    err = capsys.readouterr().err
    assert f"--out {out}: has no name" in err and err.count("\n") == 1
    assert sorted(folder.rglob("*")) == before


def test_the_recording_never_takes_the_place_of_the_prompts(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine.sqlite").symlink_to("mine.txt")
    before = Path("mine.txt").read_bytes()
    assert run(COMMAND) == 1
    assert "which is read, would be lost" in capsys.readouterr().err
    assert Path("mine.txt").read_bytes() == before
