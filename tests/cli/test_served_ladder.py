"""A ladder of served models, from the configuration file to calibrated answers with a price."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from adaptive_sd.artifact import load_artifact
from adaptive_sd.build import Cascade
from adaptive_sd.cli import run
from adaptive_sd.errors import ArtifactError, ConfigError
from adaptive_sd.offline.recording import Recording
from tests.cli.test_own_ladder import GRADER
from tests.engines.openai_model import TinyModel
from tests.engines.openai_script import Script
from tests.engines.openai_server import Server, serving

KEY = "sk-0123456789abcdef"
PRICES = ((0.1, 0.2), (1.0, 4.0))
PRICE = 'cost = {{ unit = "{}", per_million_in = {}, per_million_out = {} }}'
STAGE = """
[[stage]]
name = "{}"
engine = "openai"
base_url = "{}"
model = "tiny-7b"
style = "few_reason"
api_key_file = "key.txt"
stream = false
{}
"""
NUM_PROMPTS = 60


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Server, Server]]:
    """A server without logprobs and one of vLLM's kind; commands run beside the key and prompts."""
    monkeypatch.setenv("ADAPTIVE_SD_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("adaptive_sd.models.home._configured", None)  # undone: it is for a process
    monkeypatch.chdir(tmp_path)
    Path("key.txt").write_text(f"{KEY}\n")
    Path("grader.py").write_text(GRADER)
    common = {"dataset": "own", "category": "c", "answer": "A", "grader": "choice"}
    tasks = [
        common | {"id": f"q{n}", "prompt": f"Which comes after {n}?\nA. {n + 1}\nB. {n + 2}"}
        for n in range(NUM_PROMPTS)
    ]
    Path("mine.jsonl").write_text("\n".join(map(json.dumps, tasks)))
    small = Script(TinyModel(1), logprobs=False, key=KEY)
    large = Script(TinyModel(2), kind="vllm", key=KEY)
    with serving(small) as first, serving(large) as second:
        yield first, second


def write_ladder(
    servers: tuple[Server, Server], units: tuple[str, str] = ("usd", "usd"), top: str = ""
) -> Path:
    stages = [
        STAGE.format(name, server.url, PRICE.format(unit, *price))
        for name, server, unit, price in zip(
            ("small", "large"), servers, units, PRICES, strict=True
        )
    ]
    path = Path("ladder.toml")
    path.write_text(top + "".join(stages))
    return path


@pytest.mark.slow
def test_a_served_ladder_is_recorded_fitted_and_answers_at_its_price(
    servers: tuple[Server, Server], capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_ladder(servers)
    record = ["record", "mine.jsonl", "--config", "ladder.toml", "--grader", "grader.py"]
    assert run([*record, "--out", "mine.sqlite"]) == 0
    assert run(["export", "mine.sqlite", "--out", "mine.parquet"]) == 0
    assert run(["fit", "mine.parquet", "--out", "mine-artifact"]) == 0
    assert run(["replay", "mine.parquet", "--artifact", "mine-artifact", "--json"]) == 1
    assert "fitted on" in capsys.readouterr().err  # the very prompts: an overlap
    with Recording(Path("mine.sqlite"), read_only=True) as recording:
        outcomes = list(recording.outcomes())
    assert len(outcomes) == 2 * NUM_PROMPTS
    artifact = load_artifact(Path("mine-artifact"))
    assert {stage.rates.unit for stage in artifact.stages if stage.rates} == {"usd"}
    config = write_ladder(servers, top='artifact = "mine-artifact"\n')
    asked = ["answer", "Which comes after 77?\nA. 78\nB. 79", "--config", str(config)]
    assert run([*asked, "--json"]) == 0
    given = json.loads(capsys.readouterr().out)
    assert given["calibrated"] and given["cost_unit"] == "usd"
    ran = [step for step in given["trace"] if step["tokens_out"]]
    for step in ran:
        read, written = PRICES[("small", "large").index(step["stage"])]
        least = (read * step["tokens_in"] + written * step["tokens_out"]) / 1e6
        assert least <= step["cost"] <= least + 2e-6 * (written + 1)
    assert run([*asked, "--explain"]) == 0
    assert "usd" in capsys.readouterr().err
    for path in Path().rglob("*"):
        assert path.name == "key.txt" or path.is_dir() or KEY.encode() not in path.read_bytes()
    config.write_text(config.read_text().replace("per_million_out = 4.0", "per_million_out = 40"))
    with pytest.warns(UserWarning, match="stage 'large' has another price than"):
        Cascade.from_config(config)
    with pytest.raises(ArtifactError, match=r"costs in usd, this ladder's are in gpu_s"):
        Cascade.from_config(write_ladder(servers, ("gpu_s",) * 2, 'artifact = "mine-artifact"\n'))


def test_without_an_artifact_the_prior_decides_by_size_and_price(
    servers: tuple[Server, Server],
) -> None:
    with Cascade.from_config(write_ladder(servers)) as cascade:
        answer = cascade.answer("say something")
        assert cascade.judge.cost_unit == answer.cost_unit == "usd"
    assert not answer.calibrated and 0 < answer.cost < 1e-2
    text = Path("ladder.toml").read_text().replace("tiny-7b", "tiny")
    Path("ladder.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"stage 'small': nothing tells the size.*parameters"):
        Cascade.from_config("ladder.toml")
    Path("ladder.toml").write_text(text.replace("style", 'parameters = "7b"\nstyle'))
    with Cascade.from_config("ladder.toml") as cascade:
        assert [stage.num_parameters for stage in cascade.stages] == [7e9, 7e9]


def test_costs_of_two_units_and_keys_that_are_not_there_are_refused(
    servers: tuple[Server, Server],
) -> None:
    with pytest.raises(ConfigError, match=r"small usd, large gpu_s\); give each stage a `cost`"):
        Cascade.from_config(write_ladder(servers, ("usd", "gpu_s")))
    Path("key.txt").write_text("\n")
    with pytest.raises(ConfigError, match=r"key.txt: is empty"):
        Cascade.from_config(write_ladder(servers))
    Path("key.txt").write_text("sk-ü")
    with pytest.raises(ConfigError, match="characters that no header takes") as caught:
        Cascade.from_config(write_ladder(servers))
    assert "sk-" not in str(caught.value)


def test_one_endpoint_of_two_stages_is_one_engine(servers: tuple[Server, Server]) -> None:
    with Cascade.from_config(write_ladder((servers[0], servers[0]))) as cascade:
        assert cascade.stages[0].engine is cascade.stages[1].engine


def test_an_error_of_the_ladder_is_one_line_and_exit_1(
    servers: tuple[Server, Server], capsys: pytest.CaptureFixture[str]
) -> None:
    for server in servers:
        server.script.fault = lambda handler, _: handler.send_bytes(b"<html>")
    config = write_ladder(servers, top='on_failure = "error"\n')
    assert run(["answer", "hello", "--config", str(config)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: http://127.0.0.1:") and KEY not in line
