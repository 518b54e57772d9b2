"""The doctor plans with the memory there is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adaptive_sd.cli import run
from adaptive_sd.config import read_config
from adaptive_sd.doctor import examine, examine_stages, needed_bytes
from adaptive_sd.models.catalogue import load_catalogue
from tests.engines.openai_script import Script
from tests.engines.openai_server import serving


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With files of the right names and sizes, which are damaged: nothing is loaded."""
    monkeypatch.setenv("ADAPTIVE_SD_HOME", str(tmp_path))
    return tmp_path


def put_models(home: Path, *names: str) -> None:
    (home / "models").mkdir()
    for name in names:
        with (home / "models" / f"{name}.gguf").open("wb") as file:
            file.truncate(load_catalogue()[name].bytes)  # sparse: takes no room


def test_an_empty_home_is_told_how_to_begin(home: Path) -> None:
    report = examine()
    assert report.models == () and "models pull" in report.advice[0]
    assert report.num_cores >= 1 and report.memory_bytes > 0
    assert {tool.name for tool in report.tools} == {"cuda", "torch", "vllm"}
    assert all(tool.check for tool in report.tools)


def test_a_lack_of_memory_names_choices_that_fit(home: Path) -> None:
    names = ("smollm2-135m", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b")
    put_models(home, *names)
    free = 3_500_000_000
    report = examine(context=32_768, free_bytes=free)
    assert any("sha256" in model.state for model in report.models)  # damaged, and said so
    (advice,) = report.advice
    sizes = [load_catalogue()[name].bytes for name in names]
    context = int(advice.split("--context ")[1].split(")")[0])
    assert sum(needed_bytes(size, context) for size in sizes) <= free
    assert sum(needed_bytes(size, 2 * context) for size in sizes) > free
    ladder = advice.split("--stages ")[1].split(")")[0].split(",")
    kept = [load_catalogue()[name].bytes for name in ladder]
    assert sum(needed_bytes(size, 32_768) for size in kept) <= free
    assert "quantisation" in advice


def test_slots_that_do_not_fit_are_named_with_a_number_that_does(home: Path) -> None:
    put_models(home, "smollm2-135m")
    size = load_catalogue()["smollm2-135m"].bytes
    (advice,) = examine(slots=16, free_bytes=1_500_000_000).advice
    slots = int(advice.split("slots = ")[1].split(")")[0])
    assert needed_bytes(size, slots * 4096) <= 1_500_000_000
    assert needed_bytes(size, (slots + 1) * 4096) > 1_500_000_000


def test_enough_memory_needs_no_advice(home: Path) -> None:
    put_models(home, "smollm2-135m")
    assert examine(free_bytes=10_000_000_000).advice == ()


def test_json_is_one_document(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {"cpu", "cpu_flags", "num_cores", "memory_bytes", "tools", "models"} <= document.keys()


STAGE = """
[[stage]]
name = "{name}"
engine = "openai"
base_url = "{url}"
model = "tiny-7b"
"""


def test_the_stages_of_a_configuration_are_asked_what_works(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = home / "ladder.toml"
    plain = Script(logprobs=False, usage=lambda _: None)
    with serving(Script(kind="vllm", cached=True)) as able, serving(plain) as other:
        config.write_text(
            '[[stage]]\nname = "local"\nmodel = "smollm2-135m"\n'
            + STAGE.format(name="able", url=able.url)
            + STAGE.format(name="other", url=other.url)
            + STAGE.format(name="keyed", url=other.url)
            + 'api_key_env = "NO_SUCH_KEY"\n'
        )
        assert run(["doctor", "--json", "--config", str(config)]) == 1
        printed = json.loads(capsys.readouterr().out)
        assert run(["doctor", "--config", str(config)]) == 1
        told = capsys.readouterr().out
    local, found, lacking, keyed = printed["stages"]
    assert local["endpoint"] is None and "models pull" in local["error"]
    wanted = {"server": "vllm 0.29.0", "context": 4096, "why_no_verification": ""}
    names = ("logprobs", "usage", "tokenizer", "verification", "prefix_cache")
    assert (wanted | dict.fromkeys(names, True)).items() <= found["endpoint"].items()
    assert found["error"] == lacking["error"] == ""
    assert [lacking["endpoint"][name] for name in names] == [False] * 4 + [None]
    assert "NO_SUCH_KEY is not set" in keyed["error"]
    assert "able (openai, tiny-7b): answers in" in told and "prefix cache not told" in told


@pytest.mark.parametrize("engine", ["vllm", "transformers"])
def test_a_stage_whose_checkpoint_is_not_here_is_told_and_nothing_is_fetched(
    home: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    monkeypatch.setattr("adaptive_sd.sources.version", lambda _: "1.0")
    monkeypatch.setattr("adaptive_sd.doctor.check_installed", lambda _: None)
    monkeypatch.delenv("ADAPTIVE_SD_OFFLINE", raising=False)
    config = home / "ladder.toml"
    config.write_text(f'[[stage]]\nname = "a"\nengine = "{engine}"\nmodel = "owner/model-70b"\n')
    (stage,) = examine_stages(read_config(config))
    assert "owner/model-70b is not cached and the network is switched off" in stage.error
