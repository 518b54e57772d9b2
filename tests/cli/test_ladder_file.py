"""A ladder that was named on the command line is written down as it was asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from adaptive_sd.cli.ladder_file import write_ladder
from adaptive_sd.config import chosen_config, read_config


@pytest.mark.parametrize("stages", [None, "qwen2.5-coder-0.5b,mine", "smollm2-135m,x.gguf"])
def test_what_is_written_is_read_as_the_same_ladder(tmp_path: Path, stages: str | None) -> None:
    ladder, path = chosen_config(None, stages), tmp_path / "mine.toml"
    assert write_ladder(ladder, tmp_path / "mine", path)
    read = read_config(path)
    assert read.stages == ladder.stages and read.artifact == str(tmp_path / "mine")
    assert write_ladder(ladder, tmp_path / "other", path)  # it is its own
    assert read_config(path).artifact == str(tmp_path / "other")
    assert not write_ladder(ladder, None, path)
    assert read_config(path).artifact == str(tmp_path / "other")
    assert write_ladder(ladder, None, tmp_path / "bare.toml")
    bare = read_config(tmp_path / "bare.toml")
    assert (bare.stages, bare.artifact) == (ladder.stages, "default")


def test_a_file_is_named_by_its_place_and_no_file_of_the_users_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my model.gguf").touch()
    [stage] = (ladder := chosen_config(None, "my model.gguf")).stages
    assert write_ladder(ladder, Path("mine"), Path("mine.toml"))
    [read] = read_config(Path("mine.toml")).stages
    assert read == replace(stage, model=str(tmp_path / "my model.gguf"))
    Path("mine.toml").write_text("online = true")
    assert not write_ladder(ladder, Path("mine"), Path("mine.toml"))
    assert Path("mine.toml").read_text() == "online = true"
