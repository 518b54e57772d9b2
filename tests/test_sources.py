"""Which engine a model gets that names none, and what is known of it before it is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adaptive_sd.engines.vllm.options import VllmOptions
from adaptive_sd.errors import AdaptiveSDError, ConfigError, DamagedModelError, UnknownModelError
from adaptive_sd.models.folders import find_folder
from adaptive_sd.sources import Source, in_process, run_by_vllm

EMBEDDING = {"threads": None, "gpu_layers": 0, "slots": 1, "max_waiting": 1, "offline": True}


def source_of(name: str, *, size: int = 1, here: bool) -> Source:
    return in_process(name, None, size, lambda: here, context=512, rates=None, **EMBEDDING)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model of 2 x 3 + 4 parameters."""
    write_weights(tmp_path / "m" / "model.safetensors", b"\0" * 20)
    (tmp_path / "m" / "config.json").write_text("{}")
    return tmp_path / "m"


def write_weights(path: Path, content: bytes) -> None:
    header = json.dumps(
        {"__metadata__": {"format": "pt"}, "a": {"shape": [2, 3]}, "b": {"shape": [4]}}
    ).encode()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(len(header).to_bytes(8, "little") + header + content)


def test_vllm_is_preferred_only_where_it_and_a_gpu_are_here(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adaptive_sd.sources.find_spec", lambda name: name == "vllm")
    assert source_of(str(folder), size=2, here=True).key == VllmOptions(str(folder), 512, 2)
    with pytest.raises(UnknownModelError):
        source_of(str(folder), here=False)


def test_a_gguf_file_is_embedded_wherever_it_is(tiny_path: Path) -> None:
    for here in (True, False):
        assert source_of(str(tiny_path), here=here).rates_key.count("llama_cpp") == 1


@pytest.mark.parametrize(("name", "here"), [("owner/model", False), ("smollm2-135m", True)])
def test_several_gpus_without_an_engine_for_them_are_refused(name: str, here: bool) -> None:
    with pytest.raises(ConfigError, match="tensor_parallel_size is 2; only vLLM") as caught:
        source_of(name, size=2, here=here)
    assert "\n" not in str(caught.value)


def test_without_vllm_the_extra_is_named(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r'needs vLLM.*pip install "adaptive-sd\[vllm\]"'):
        run_by_vllm(VllmOptions(str(folder)), parameters=None, rates=None, has_vllm=lambda: False)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("meta-llama/Llama-3.2-8B", "there is no 8B of Llama 3.2"),
        ("smollm2-135m", "is no folder with a config.json and no hub id"),
        ("a/b/model.gguf", "is no folder with a config.json and no hub id"),
        ("/no/such/folder", "is no folder with a config.json and no hub id"),
    ],
)
def test_what_vllm_cannot_have_is_told_before_it_is_started(name: str, message: str) -> None:
    with pytest.raises(AdaptiveSDError, match=message) as caught:
        run_by_vllm(VllmOptions(name), parameters=None, rates=None, has_vllm=lambda: True)
    assert "\n" not in str(caught.value)


def test_a_folder_is_known_by_its_content(folder: Path, tmp_path: Path) -> None:
    found = find_folder(str(folder))
    assert found.num_parameters == 10 and len(found.sha256) == 64
    (tmp_path / "same").mkdir()
    for path in folder.iterdir():
        (tmp_path / "same" / path.name).write_bytes(path.read_bytes())
    assert find_folder(str(tmp_path / "same")) == found
    write_weights(tmp_path / "same" / "model.safetensors", b"\0" * 19 + b"\1")
    assert find_folder(str(tmp_path / "same")).sha256 != found.sha256


def test_half_a_folder_is_damaged(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\0" * 8)
    with pytest.raises(DamagedModelError, match="no safetensors file"):
        find_folder(str(folder))
    (folder / "model.safetensors").unlink()
    with pytest.raises(DamagedModelError, match=r"no \*\.safetensors"):
        find_folder(str(folder))


def test_a_hub_id_is_known_by_its_name() -> None:
    found = find_folder("owner/model-7b-it")
    assert found.num_parameters == 7_000_000_000
    assert found.sha256 != find_folder("owner/other-7b").sha256
