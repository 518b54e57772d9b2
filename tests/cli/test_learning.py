"""`adaptive-sd feedback` and `recalibrate`: exit codes, documents, and when an artifact changes."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from adaptive_sd.artifact import Artifact, load_artifact, save_artifact
from adaptive_sd.cascade import Cascade
from adaptive_sd.cli import run
from adaptive_sd.errors import DataError
from adaptive_sd.judge import FittedJudge
from adaptive_sd.offline.replay.seen import find_overlap
from adaptive_sd.online import Online
from adaptive_sd.prompt import prompt_hash
from adaptive_sd.trace_store import TraceStore
from tests.ladder import SKILL, make_stages, make_table, make_tasks
from tests.test_streaming import ANSWER


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADAPTIVE_SD_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def folder(artifact: Artifact, tmp_path: Path) -> Path:
    save_artifact(artifact, tmp_path / "artifact")
    return tmp_path / "artifact"


def config_of(folder: Path, tmp_path: Path) -> list[str]:
    stages = "".join(f'[[stage]]\nname = "{name}"\nmodel = "x"\n' for name in SKILL)
    path = tmp_path / "ladder.toml"
    path.write_text(f'artifact = "{folder}"\nonline = true\nexplore = 0.1\n{stages}')
    return ["--config", str(path)]


def give_answers(folder: Path, home: Path, count: int) -> list[str]:
    """Their trace ids."""
    judge = FittedJudge(load_artifact(folder))
    online = Online(judge, home / "traces.sqlite", explore=0.1)
    cascade = Cascade(make_stages(folder.parent), judge, online=online)
    return [cascade.answer(task.prompt).trace_id for task in make_tasks(count, seed=41)]


def bytes_of(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.iterdir())]


def test_feedback_is_learned_from_and_the_artifact_changes_only_when_saved(
    folder: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, before = config_of(folder, tmp_path), bytes_of(folder)
    for trace_id in give_answers(folder, home, 30):
        assert run(["feedback", trace_id, "bad", *config]) == 0
    out, err = capsys.readouterr()
    assert out == "" and err.count(": bad, will be learned from\n") == 30
    assert run(["recalibrate", "--json", *config]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["num_answers"] == 30 and shown["saved"] is None and not shown["drifted"]
    assert [stage["stage"] for stage in shown["stages"]] == list(SKILL)
    assert sum(stage["num_told"] for stage in shown["stages"]) == 30
    told = [stage for stage in shown["stages"] if stage["num_told"] > 5]
    assert all(stage["after"] < stage["before"] for stage in told)
    assert bytes_of(folder) == before
    assert run(["recalibrate", "--save", *config]) == 0
    out, err = capsys.readouterr()
    kept = folder.with_name(f"{folder.name}.before")
    assert bytes_of(kept) == before != bytes_of(folder) and str(kept) in err
    assert "no drift is shown" in out and str(folder) in err
    saved = load_artifact(folder)
    assert saved.reference is None and saved.lam_origin.endswith("recalibrated by feedback since")
    assert run(["recalibrate", *config]) == 0
    assert capsys.readouterr().out.count("nothing is known") == 3  # it is another fit
    assert run(["recalibrate", "--save", *config]) == 1
    assert "nothing to save" in capsys.readouterr().err


def test_a_saved_recalibration_estimates_as_the_online_ladder_did(
    folder: Path, home: Path, tmp_path: Path
) -> None:
    old, old_hashes = FittedJudge(load_artifact(folder)), load_artifact(folder).prompt_hashes
    for trace_id in give_answers(folder, home, 30):
        assert run(["feedback", trace_id, "bad", *config_of(folder, tmp_path)]) == 0
    online = Online(old, home / "traces.sqlite", explore=0.0)
    cascades = [Cascade(make_stages(tmp_path), old, online=online)]
    assert run(["recalibrate", "--save", "--artifact", str(folder)]) == 0
    new = load_artifact(folder)
    learned = {prompt_hash(task.prompt) for task in make_tasks(30, seed=41)}
    assert {*new.learned_hashes} == learned and new.prompt_hashes == old_hashes
    table = make_table(tmp_path, make_tasks(20, seed=41))
    with pytest.raises(DataError, match="recalibrated by"):
        find_overlap(new, table)
    cascades.append(Cascade(make_stages(tmp_path), FittedJudge(new)))
    [task] = make_tasks(1, seed=42)
    ours, theirs = (cascade.answer(task.prompt) for cascade in cascades)
    assert ours.trace[0].quality == pytest.approx(theirs.trace[0].quality, abs=1e-3)


def test_feedback_on_other_answers_is_kept_and_on_none_refused(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    TraceStore(home / "traces.sqlite").append("p", replace(ANSWER, trace_id="plain"))
    assert run(["feedback", "plain", "good"]) == 0
    assert "nothing is learned" in capsys.readouterr().err
    database = sqlite3.connect(home / "traces.sqlite")
    [(record,)] = database.execute("SELECT record FROM event").fetchall()
    database.close()
    assert json.loads(record) == {"good": True}
    assert run(["feedback", "nobody", "good"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert run(["feedback", "plain", "so-so"]) == 2


def test_a_ladder_without_an_artifact_has_nothing_to_recalibrate(
    tiny_path: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Least of all the shipped one."""
    path = tmp_path / "ladder.toml"
    path.write_text(f'[[stage]]\nname = "tiny"\nmodel = "{tiny_path}"\n')
    for options in ([], ["--save"]):
        assert run(["recalibrate", "--config", str(path), *options]) == 1
        out, err = capsys.readouterr()
        assert not out and "nothing was fitted for this ladder" in err and err.count("\n") == 1
        assert "adaptive-sd fit" in err


def test_a_ladder_that_nothing_was_fitted_for_cannot_be_online(
    tiny_path: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "ladder.toml"
    path.write_text(f'online = true\n[[stage]]\nname = "tiny"\nmodel = "{tiny_path}"\n')
    assert run(["answer", "hello", "--config", str(path)]) == 1
    err = capsys.readouterr().err
    assert "online = true" in err and "adaptive-sd fit" in err and err.count("\n") == 1
