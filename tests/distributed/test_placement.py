"""What a stage takes of a machine, by its configuration; where it is opened paths are the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from adaptive_sd.config import Config, StageConfig, read_config
from adaptive_sd.distributed.placement import Placement, absolute, placements
from adaptive_sd.models.home import home_dir


def placed(folder: Path, keys: str) -> Placement:
    (folder / "ladder.toml").write_text(f'[[stage]]\nname = "a"\nmodel = "o/m"\n{keys}')
    (found,) = placements(read_config(folder / "ladder.toml"))
    return found


@pytest.mark.parametrize(
    ("keys", "cpus", "gpus", "slots"),
    [
        ("", 1, 0, 1),
        ("threads = 4\nslots = 2", 4, 0, 2),
        ("gpu_layers = 99", 1, 1, 1),
        ('engine = "transformers"', 1, 1, 1),
        ('engine = "transformers"\ndevice_map = "cuda"\nslots = 4', 1, 1, 4),
        ('engine = "transformers"\ndevice_map = "cpu"\nthreads = 2', 2, 0, 1),
        ('engine = "vllm"', 1, 1, 32),
        ('engine = "vllm"\ntensor_parallel_size = 4', 1, 4, 32),
        ('engine = "vllm"\noptions = { max_num_seqs = 256 }', 1, 1, 256),
        ('engine = "openai"\nbase_url = "http://host/v1"', 0.25, 0, 32),
    ],
)
def test_a_stage_takes_what_its_engine_needs(
    tmp_path: Path, keys: str, cpus: float, gpus: float, slots: int
) -> None:
    found = placed(tmp_path, keys)
    assert (found.num_cpus, found.num_gpus, found.slots) == (cpus, gpus, slots)


def test_paths_are_whole_and_other_names_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.gguf").touch()
    (tmp_path / "folder").mkdir()
    keys = 'name = "{0}"\nmodel = "{0}"\n'
    text = 'artifact = "fitted"\nhome = "house"\n'
    for name in ("a.gguf", "b.gguf", "smollm2-135m"):
        text += "[[stage]]\n" + keys.format(name)
    text += '[[stage]]\nname = "v"\nmodel = "folder"\nengine = "vllm"\n'
    (tmp_path / "ladder.toml").write_text(text)
    found = absolute(read_config(tmp_path / "ladder.toml"))
    a, folder = str(tmp_path / "a.gguf"), str(tmp_path / "folder")
    assert [s.model for s in found.stages] == [a, "b.gguf", "smollm2-135m", folder]
    assert found.stages[3].vllm is not None and found.stages[3].vllm.model == folder
    assert (found.artifact, found.home) == (str(tmp_path / "fitted"), tmp_path / "house")
    assert absolute(found) == found
    assert absolute(replace(found, artifact="default", home=None)).artifact == "default"


def test_a_worker_takes_the_home_that_the_file_names(
    tmp_path: Path, tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adaptive_sd.models.home._configured", None)  # undone: it is for a process
    config = Config((StageConfig("tiny", str(tiny_path)),), home=tmp_path / "house")
    (placement,) = placements(config)
    assert home_dir() != tmp_path / "house"
    placement.open().close()
    assert home_dir() == tmp_path / "house"
