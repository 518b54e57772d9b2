"""An artifact comes back as it was saved; a damaged one is refused in one line."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adaptive_sd.artifact import Artifact, load_artifact, save_artifact
from adaptive_sd.cascade import Cascade
from adaptive_sd.errors import ArtifactError
from adaptive_sd.judge import FittedJudge
from tests.ladder import make_stages, make_tasks


@pytest.fixture(scope="module")
def saved(artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifact") / "saved"
    save_artifact(artifact, folder)
    return folder


def test_a_loaded_artifact_decides_as_the_fitted_one(
    artifact: Artifact, saved: Path, tmp_path: Path
) -> None:
    loaded = load_artifact(saved)
    assert loaded.stages == artifact.stages
    assert loaded.acceptance == artifact.acceptance
    assert loaded.prompt_hashes == artifact.prompt_hashes
    ladders = [Cascade(make_stages(tmp_path), FittedJudge(a)) for a in (artifact, loaded)]
    for task in make_tasks(40, seed=5):
        ours, theirs = (ladder.answer(task.prompt) for ladder in ladders)
        assert ours.trace[0].quality == pytest.approx(theirs.trace[0].quality, abs=1e-6)
        assert (ours.text, ours.stage, ours.cost) == (theirs.text, theirs.stage, theirs.cost)


def test_the_largest_stage_agrees_with_itself_whatever_was_recorded(
    artifact: Artifact, tmp_path: Path
) -> None:
    *_, largest = artifact.stages
    unlabelled = replace(artifact, forms=(), agreement_with=largest.name)
    for known, agrees in ((unlabelled, True), (replace(artifact, forms=()), False)):
        answer = Cascade(make_stages(tmp_path), FittedJudge(known)).answer("Write a poem on rain.")
        assert answer.stage == largest.name and not answer.calibrated
        assert (answer.quality == 1) == agrees


def test_saving_again_replaces_and_leaves_nothing_else(artifact: Artifact, tmp_path: Path) -> None:
    for _ in range(2):
        save_artifact(artifact, tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["manifest.json", "weights.npz"]


def test_a_folder_with_other_files_is_not_replaced(artifact: Artifact, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ArtifactError, match="something else"):
        save_artifact(artifact, tmp_path)
    with pytest.raises(ArtifactError, match="something else"):
        save_artifact(artifact, tmp_path / "thesis.txt")
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_bytes_changed_anywhere_are_refused_or_harmless(
    saved: Path, tmp_path: Path, data: st.DataObject
) -> None:
    folder = tmp_path / "copy"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(saved, folder)
    path = folder / data.draw(st.sampled_from(["manifest.json", "weights.npz"]))
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at : at + data.draw(st.integers(1, 30))] = data.draw(st.binary(max_size=30))
    path.write_bytes(content)
    try:
        load_artifact(folder)
    except ArtifactError as error:
        assert "copy" in str(error)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("schema_version", 99, "artifact version 99"),
        ("schema_version", 4, "artifact version 4"),
        ("feature_names", ["one"], "other features"),
        ("partial_features", ["one"], "other features"),
        ("checkpoints", [16, 32], "other features"),
        ("stages", [], "damaged artifact"),
        ("acceptance", [[0, 1, "no form", 1, 1]], "damaged artifact"),
        ("certificates", {"confidence": "high"}, "damaged artifact"),
        ("shifts", [[0.0, 1.0]], "damaged artifact"),
    ],
)
def test_what_does_not_fit_is_named(
    saved: Path, tmp_path: Path, key: str, value: object, message: str
) -> None:
    folder = shutil.copytree(saved, tmp_path / "copy")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {key: value}))
    with pytest.raises(ArtifactError, match=message):
        load_artifact(folder)


def test_pickled_arrays_are_never_loaded(saved: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(saved, tmp_path / "copy")
    evil = np.array([{"a": 1}], dtype=object)
    np.savez(folder / "weights.npz", **{"policy.lam_grid": evil})  # type: ignore[arg-type]
    with pytest.raises(ArtifactError, match="damaged"):
        load_artifact(folder)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no artifact there"):
        load_artifact(tmp_path / "nothing")
