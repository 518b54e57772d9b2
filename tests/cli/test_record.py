"""`adaptive-sd record` and `export` on a tiny random model: graders, warnings, bad input."""

from __future__ import annotations

import json
import sqlite3
import stat
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import pytest

from adaptive_sd.cli import run
from adaptive_sd.config import read_config
from adaptive_sd.data.grading import version_of
from adaptive_sd.data.outcomes import read_outcomes
from tests.data.endpoint import echoing_the_key, saying, serving
from tests.engines.tiny_gguf import write_tiny_model

KEY = "sk-very-secret"
HAS_RAY = find_spec("ray") is not None


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADAPTIVE_SD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("JUDGE_KEY", KEY)
    return tmp_path / "home"


@pytest.fixture
def command(home: Path, tmp_path: Path, tiny_path: Path) -> list[str]:
    """Record two free questions and one closed one."""
    tasks = tmp_path / "own.jsonl"
    common = {"dataset": "own", "category": "c", "prompt": "Is it?", "answer": "yes"}
    rows = [common | {"id": str(i), "grader": g} for i, g in enumerate(["judge", "judge", "exact"])]
    tasks.write_text("\n".join(map(json.dumps, rows)))
    out = ["--out", str(tmp_path / "r.sqlite")]
    return ["record", str(tasks), *out, "--stages", str(tiny_path), "--offline"]


def graded(folder: Path) -> dict[str, tuple[float | None, str]]:
    with closing(sqlite3.connect(folder / "r.sqlite")) as database:
        rows = database.execute("SELECT prompt_id, quality, grader_version FROM outcome")
        return {prompt_id: (quality, version) for prompt_id, quality, version in rows}


def test_what_was_recorded_without_a_judge_is_judged_by_the_next_run(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command) == 0
    err = capsys.readouterr().err
    assert "warning: 2 prompts need a judge" in err and "2 answers (only a judge" in err
    assert f"{tmp_path / 'r.toml'}: a configuration of these stages" in err
    assert read_config(tmp_path / "r.toml").stages[0].model == command[-2]
    assert stat.S_IMODE((tmp_path / "r.sqlite").stat().st_mode) == 0o600
    before = graded(tmp_path)
    again = [*command, "--out", str(tmp_path / "again.sqlite"), "--reuse", command[3]]
    assert run(again) == 0 and "3 answers were taken over" in capsys.readouterr().err
    assert before["0"] == (None, "") and before["2"] == (0.0, version_of("exact"))
    key = ["--judge-model", "m", "--judge-key-env", "JUDGE_KEY"]
    with serving(echoing_the_key) as (url, server):
        assert run([*command, "--judge", url, *key]) == 0
        assert len(server.asked) == 2 and server.asked[0][1] == f"Bearer {KEY}"
    out, err = capsys.readouterr()
    assert "warning" not in err and "the reply has no score" in err
    assert KEY not in out + err and graded(tmp_path) == before
    with serving(saying("Score: 10")) as (url, server):
        for _ in range(2):  # the second has nothing to ask
            assert run([*command, "--judge", url, *key]) == 0
        assert len(server.asked) == 2
    after = graded(tmp_path)
    assert after["0"][0] == after["1"][0] == 1.0 and after["2"] == before["2"]
    assert "without a grade" not in capsys.readouterr().err
    assert all(KEY.encode() not in f.read_bytes() for f in tmp_path.rglob("*") if f.is_file())


def test_a_local_stage_can_judge(
    command: list[str], tmp_path: Path, tiny_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command, "--judge-stage", str(tiny_path)]) == 0
    assert "not judged" in capsys.readouterr().err  # a random model writes no score
    assert graded(tmp_path)["2"] == (0.0, version_of("exact"))


def test_an_own_grader_grades_all_that_was_recorded(command: list[str], tmp_path: Path) -> None:
    assert run(command) == 0
    mine = tmp_path / "mine.py"
    for quality in (0.25, 0.75):
        mine.write_text(f"def grade(task, text):\n    return {quality}\n")
        assert run([*command, "--grader", str(mine)]) == 0
        assert {found for found, _ in graded(tmp_path).values()} == {quality}


def test_own_grades_stay_when_a_run_goes_on_without_the_grader(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("def grade(task, text):\n    return 0.25\n")
    assert run([*command, "--grader", str(mine)]) == 0
    before = graded(tmp_path)
    assert run(command) == 0
    assert graded(tmp_path) == before
    mine.write_text("import sys\ndef grade(task, text):\n    sys.exit(f'no: {task.id}')\n")
    capsys.readouterr()
    command[command.index("--out") + 1] = str(tmp_path / "other.sqlite")
    assert run([*command, "--grader", str(mine)]) == 0
    assert "1 answers (the grader failed: SystemExit('no: 2'))" in capsys.readouterr().err


@pytest.mark.parametrize("votes", [[], ["--votes", "2"]])
def test_an_id_of_two_prompts_is_named_with_where_it_is(
    command: list[str], tmp_path: Path, votes: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    own, other = tmp_path / "own.jsonl", tmp_path / "other.jsonl"
    rows = [json.loads(line) for line in own.read_text().splitlines()]
    rows = [row | {"prompt": f"What is the sum {n} + 2?"} for n, row in enumerate(rows)]
    own.write_text("\n".join(map(json.dumps, rows)))
    other.write_text(json.dumps(rows[1] | {"prompt": "Is it not?"}))
    command[2:2] = [str(other)]
    assert run([*command, *votes]) == 1
    err = capsys.readouterr().err
    assert err == (
        f"error: {other}: id '1' stands for another prompt in {own}; give every prompt an id of "
        "its own.\n"
    )
    assert not (tmp_path / "r.sqlite").exists()
    command[2] = str(own)
    assert run([*command, *votes]) == 0 and len(graded(tmp_path)) == 3


@pytest.mark.parametrize("option", ["tasks", "--skip", "--reuse", "--grader"])
def test_a_recording_is_never_made_of_what_is_read(
    command: list[str], tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    link = tmp_path / "link.py"
    link.symlink_to(tmp_path / "own.jsonl")
    command[command.index("--out") + 1] = str(tmp_path / "sub" / ".." / "own.jsonl")
    (tmp_path / "sub").mkdir()
    before = (tmp_path / "own.jsonl").read_bytes()
    assert run([*command, *([] if option == "tasks" else [option, str(link)])]) == 1
    err = capsys.readouterr().err
    assert "which is read, would be lost" in err and err.count("\n") == 1
    assert (tmp_path / "own.jsonl").read_bytes() == before


def test_prompts_are_left_out_by_their_text(command: list[str], tmp_path: Path) -> None:
    own, left_out = tmp_path / "own.jsonl", tmp_path / "skip.jsonl"
    rows = [json.loads(line) for line in own.read_text().splitlines()]
    rows = [row | {"prompt": f"Is it {n}?"} for n, row in enumerate(rows)]
    own.write_text("\n".join(map(json.dumps, rows)))
    skipped = [rows[0] | {"id": "x", "prompt": " is  IT 0?"}, rows[1] | {"prompt": "Another?"}]
    left_out.write_text("\n".join(map(json.dumps, skipped)))
    assert run([*command, "--skip", str(left_out)]) == 0
    assert graded(tmp_path).keys() == {"1", "2"}


def test_a_machine_that_has_become_slower_is_told_of(
    command: list[str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for factor, told in ((1, False), (3, True)):
        if factor > 1:
            known = json.loads((home / "rates.json").read_text())
            for rates in known.values():
                rates["decode_s"] *= factor
            (home / "rates.json").write_text(json.dumps(known))
        assert run(command) == 0
        assert ("faster or slower by more than 25%" in capsys.readouterr().err) is told


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--judge", "http://h/v1"], 2, "--judge needs --judge-model"),
        (["--ray-address", "auto"], 2, "--ray-address is of --ray"),
        (["--ray", "--votes", "2"], 2, "are not for --ray"),
        *([] if HAS_RAY else [(["--ray"], 1, "pip install 'adaptive-sd[ray]'")]),
        (["--judge", "http://h/v1", "--judge-stage", "x"], 2, "not both"),
        (["--judge", "nowhere", "--judge-model", "m"], 1, "error: --judge: "),
        (["--judge-stage", "nowhere"], 1, "nowhere"),
        (["--grader", "nowhere.py"], 1, "nowhere.py: cannot be read"),
        (["--grader", "nowhere"], 1, "neither a Python file nor an entry point"),
        (
            ["--judge", "http://h/v1", "--judge-model", "m", "--judge-key-env", "NO_KEY"],
            1,
            "NO_KEY: this environment variable is not set",
        ),
    ],
)
def test_options_that_cannot_be_used_are_refused_before_anything_runs(
    command: list[str],
    tmp_path: Path,
    options: list[str],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run([*command, *options]) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "r.sqlite").exists()


def test_hub_names_are_in_the_help_and_a_local_copy_is_recorded(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["record", "--help"]) == 0
    assert "hub:NAME=FILE" in (text := " ".join(capsys.readouterr().out.split())), text
    pytest.importorskip("datasets", reason="the extra `datasets` is not installed")
    copy = tmp_path / "copy.jsonl"
    copy.write_text(
        "\n".join(
            json.dumps({"question": f"{i} + 1?", "answer": f"#### {i + 1}"}) for i in range(9)
        )
    )
    command[1] = f"hub:gsm8k={copy}"
    assert run([*command, "--limit", "2", "--seed", "3"]) == 0
    assert (
        all(name.startswith("gsm8k/") for name in graded(tmp_path)) and len(graded(tmp_path)) == 2
    )


def test_an_export_never_destroys_what_it_reads(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command) == 0
    recording = str(tmp_path / "r.sqlite")
    before = (tmp_path / "r.sqlite").read_bytes()
    names = {"r.parquet": "would be lost", "link.parquet": "would be lost", "new.txt": "ends in"}
    for name in ("r.parquet", "link.parquet"):  # a recording may have any name
        (tmp_path / name).symlink_to(tmp_path / "r.sqlite")
    capsys.readouterr()
    for name, why in {"r.sqlite": "ends in", **names}.items():
        for inputs in ([recording], [str(tmp_path / "r.parquet")], ["x", "--test", recording]):
            assert run(["export", *inputs, "--out", str(tmp_path / name)]) == 1
            err = capsys.readouterr().err
            assert why in err and err.count("\n") == 1
    assert (tmp_path / "r.sqlite").read_bytes() == before
    assert (tmp_path / "link.parquet").is_symlink() and not (tmp_path / "new.txt").exists()


def test_an_export_counts_what_is_unfinished(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command) == 0
    with closing(sqlite3.connect(tmp_path / "r.sqlite")) as database, database:
        database.execute("DELETE FROM outcome WHERE prompt_id = '1'")
    table = tmp_path / "t.parquet"
    assert run(["export", str(tmp_path / "r.sqlite"), "--out", str(table)]) == 0
    assert "left out: 1 prompts" in capsys.readouterr().err
    found = read_outcomes(table)
    assert found.prompt_ids == ("2",) and found.num_left_out == 1


def test_a_ladder_with_votes_is_recorded_and_exported(command: list[str], tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "long.gguf", context=2048)  # worked examples are long
    stage = f'[[stage]]\nmodel = "{model}"\nname = '
    ladder = tmp_path / "ladder.toml"
    ladder.write_text(f'{stage}"a"\n{stage}"a x2"\nvotes = 2\n{stage}"a x3"\nvotes = 3\n')
    task = {"dataset": "own", "category": "c", "answer": "2", "grader": "number", "id": "sum"}
    (tmp_path / "own.jsonl").write_text(json.dumps(task | {"prompt": "What is the sum 1 + 1?"}))
    at = command.index("--stages")
    command[at : at + 2] = ["--config", str(ladder)]
    assert run(command) == 0
    out = tmp_path / "t.parquet"
    assert run(["export", str(tmp_path / "r.sqlite"), "--out", str(out)]) == 0
    table = read_outcomes(out)
    assert [stage.votes for stage in table.stages] == [1, 2, 3]
    votes = table.columns["vote_tokens"][0]
    assert votes[0] is None and [len(tokens) for tokens in votes[1:]] == [2, 3]
    assert len(table.columns["vote_tokens_after_a x2"][0, 2]) <= 3
    assert len(set(table.columns["num_cached"][0].tolist())) == 1
