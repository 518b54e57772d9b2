"""A stage joins an artifact on few graded prompts, and the result is an artifact like any other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adaptive_sd.artifact import Artifact, load_artifact, save_artifact
from adaptive_sd.cascade import Cascade, Request
from adaptive_sd.cli import run
from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.joined import JoinedPolicy
from adaptive_sd.decision.rollout import roll_out
from adaptive_sd.errors import DataError
from adaptive_sd.judge import FittedJudge
from adaptive_sd.offline.fit import fit_artifact
from adaptive_sd.offline.join import MIN_PROMPTS, JoinReport, join_artifact
from adaptive_sd.offline.prompts import hashes_of
from adaptive_sd.offline.replay.seen import seen_by
from tests.ladder import make_stages, make_table, make_tasks

NEW = 1


def without(table: OutcomeTable, *stages: int) -> OutcomeTable:
    kept = [k for k in range(len(table.stages)) if k not in stages]
    return replace(
        table,
        stages=tuple(table.stages[k] for k in kept),
        quality=table.quality[:, kept],
        cost=table.cost[:, kept],
        columns={name: values[:, kept] for name, values in table.columns.items()},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("join")


@pytest.fixture(scope="module")
def old(folder: Path) -> Artifact:
    (folder / "old").mkdir()
    return fit_artifact(without(make_table(folder / "old", make_tasks(200)), NEW))[0]


@pytest.fixture(scope="module")
def few(folder: Path) -> OutcomeTable:
    """Half of them are prompts that the artifact was fitted on."""
    (folder / "few").mkdir()
    return make_table(folder / "few", [*make_tasks(20), *make_tasks(20, seed=4)])


@pytest.fixture(scope="module")
def joined(old: Artifact, few: OutcomeTable) -> tuple[Artifact, JoinReport]:
    return join_artifact(old, few)


def test_the_joined_artifact_answers_as_its_policy_followed_on_a_table(
    joined: tuple[Artifact, JoinReport], folder: Path, tmp_path: Path
) -> None:
    artifact = joined[0]
    save_artifact(artifact, tmp_path / "a")
    loaded = load_artifact(tmp_path / "a")
    assert isinstance(loaded.policy.induced, JoinedPolicy)
    assert loaded.stages == artifact.stages and loaded.acceptance == artifact.acceptance
    tasks = make_tasks(30, seed=8)
    unseen = make_table(tmp_path, tasks)
    table, rows = seen_by(loaded, unseen), {name: n for n, name in enumerate(unseen.prompt_ids)}
    cascade = Cascade(make_stages(tmp_path), FittedJudge(loaded))
    answered = set()
    for lam in (0.5, 3.0, artifact.recommended_lam):
        rolled = roll_out(loaded.policy, table, lam)
        for task in tasks:
            answer = cascade.answer(task.prompt, Request(lam=lam))
            assert answer.stage_index == rolled.stage[rows[task.id]]
            answered.add(answer.stage_index)
            assert answer.calibrated
    assert NEW in answered


def test_the_artifact_says_what_joined_and_promises_nothing(
    old: Artifact, few: OutcomeTable, joined: tuple[Artifact, JoinReport]
) -> None:
    artifact, report = joined
    assert report.stage == "middle" and report.num_prompts == 40
    assert report.low < report.assumed < report.high and report.low < report.quality < report.high
    assert "40 graded prompts, 90 % credible interval" in report.as_text()
    assert report.as_origin() in artifact.lam_origin
    assert artifact.reference is None  # how the old policy fared tells nothing of the new one
    assert artifact.recommended_lam == old.recommended_lam and artifact.certificates is None
    assert old.reference is not None and artifact.reference is None
    assert artifact.metrics["joined"] == report.to_json()
    assert {*artifact.prompt_hashes} == {*old.prompt_hashes, *hashes_of(few)}
    assert len(old.prompt_hashes) < len(artifact.prompt_hashes) == 220
    assert {key[:2] for key in artifact.acceptance} >= {
        tuple(2 if k else 0 for k in key[:2]) for key in old.acceptance
    }


def test_predictors_of_the_others_stay_as_they_were(
    old: Artifact, joined: tuple[Artifact, JoinReport]
) -> None:
    assert joined[0].predictors[0] is old.predictors[0]
    assert joined[0].predictors[2] is old.predictors[1]


def test_what_cannot_join_is_refused_in_one_line(
    old: Artifact, few: OutcomeTable, joined: tuple[Artifact, JoinReport]
) -> None:
    too_few = few.take(np.arange(MIN_PROMPTS - 1))
    another = replace(few, stages=(*few.stages[:2], replace(few.stages[2], name="huge")))
    renamed = replace(
        few, stages=(few.stages[0], replace(few.stages[1], name="new"), few.stages[2])
    )
    again = replace(
        renamed,
        stages=(*few.stages, replace(few.stages[2], name="huge")),
        quality=few.quality[:, [0, 1, 2, 2]],
        cost=few.cost[:, [0, 1, 2, 2]],
        columns={name: values[:, [0, 1, 2, 2]] for name, values in few.columns.items()},
    )
    for artifact, table, said in (
        (old, too_few, f"{MIN_PROMPTS - 1} graded prompts"),
        (old, without(few, NEW), "does not know: none"),
        (old, another, "does not know: middle, huge"),
        (old, without(few, 2), "fitted for small, large"),
        (joined[0], again, "a stage has joined this artifact already"),
    ):
        with pytest.raises(DataError, match=said) as error:
            join_artifact(artifact, table)
        assert "\n" not in str(error.value)


def test_the_command_writes_an_artifact_that_replay_takes(
    old: Artifact,
    folder: Path,
    few: OutcomeTable,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    save_artifact(old, tmp_path / "old")
    table = str(folder / "few" / "table.parquet")
    command = ["fit", table, "--onto", str(tmp_path / "old"), "--out"]
    assert run([*command, str(tmp_path / "new"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stage"] == "middle"
    assert run([*command, str(tmp_path / "text")]) == 0
    assert capsys.readouterr().out.startswith("new stage middle: 40 graded prompts")
    assert run([*command, str(tmp_path / "old")]) == 1
    assert "would be lost" in capsys.readouterr().err
    assert run([*command, str(tmp_path / "x"), "--target-quality", "0.9"]) == 2
    capsys.readouterr()
    unseen = tmp_path / "unseen"
    unseen.mkdir()
    make_table(unseen, make_tasks(110, seed=9))
    replayed = ["replay", str(unseen / "table.parquet"), "--artifact", str(tmp_path / "new")]
    assert run([*replayed, "--policies", "adaptive,random", "--json", "--bootstrap", "5"]) == 0
    assert "adaptive" in json.loads(capsys.readouterr().out)["policies"]
