"""The artifact of this machine is used where it is of the shipped data, and else the shipped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from adaptive_sd import build
from adaptive_sd.artifact import load_artifact, save_artifact
from adaptive_sd.build import DEFAULT_ARTIFACT, local_artifact


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPTIVE_SD_HOME", str(tmp_path))


def test_a_local_fit_of_the_same_answers_is_used() -> None:
    shipped = load_artifact(DEFAULT_ARTIFACT)
    assert build._default_artifact(shipped) is shipped
    save_artifact(replace(shipped, recommended_lam=shipped.recommended_lam / 2), local_artifact())
    assert build._default_artifact(shipped).recommended_lam == shipped.recommended_lam / 2


def test_a_fit_of_older_answers_or_models_is_not() -> None:
    shipped = load_artifact(DEFAULT_ARTIFACT)
    other_stage = replace(shipped.stages[0], model_hash="0" * 64)
    for change in (
        {"prompt_hashes": shipped.prompt_hashes[1:]},
        {"stages": (other_stage, *shipped.stages[1:])},
    ):
        save_artifact(replace(shipped, **change), local_artifact())  # type: ignore[arg-type]
        assert build._default_artifact(shipped) is shipped


def test_a_damaged_one_is_named_and_not_used() -> None:
    shipped = load_artifact(DEFAULT_ARTIFACT)
    save_artifact(shipped, local_artifact())
    (local_artifact() / "manifest.json").write_text("{")
    with pytest.warns(UserWarning, match="damaged"):
        assert build._default_artifact(shipped) is shipped
