"""Every ladder in examples/ is one: it loads, its costs work, and its servers' commands fit it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from adaptive_sd.cli import run
from adaptive_sd.config import StageConfig, read_config
from tests.engines.openai_script import Script
from tests.engines.openai_server import serving

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.toml"))
COMMANDS = re.compile(r"(?:vllm serve|--model-path|--alias) (\S+)\s+(?:.*?)--port (\d+)")


def served_here(path: Path) -> dict[str, StageConfig]:
    """Stages whose server is on this machine, by its port."""
    stages = [s for s in read_config(path).stages if s.endpoint is not None]
    found = [(re.search(r"//127\.0\.0\.1:(\d+)/", s.endpoint.base_url), s) for s in stages]
    return {match[1]: stage for match, stage in found if match}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_a_ladder_of_one_unit(path: Path) -> None:
    stages = read_config(path).stages
    assert len(stages) > 1 and len({stage.name for stage in stages}) == len(stages)
    assert len({stage.cost.unit if stage.cost else "s" for stage in stages}) == 1


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_its_commands_start_the_servers_that_it_asks(path: Path) -> None:
    commands = [line for line in path.read_text().splitlines() if line.startswith("#")]
    told = [match.groups() for line in commands if (match := COMMANDS.search(line))]
    wanted = {(stage.endpoint.model, port) for port, stage in served_here(path).items()}
    assert set(told) == wanted


def test_costs_are_told_in_every_unit() -> None:
    units = {s.cost.unit if s.cost else "s" for path in EXAMPLES for s in read_config(path).stages}
    assert units == {"s", "gpu_s", "usd"}


@pytest.mark.parametrize("unit", ["s", "gpu_s", "usd"])
def test_a_ladder_of_servers_answers_at_its_price_in_any_unit(
    unit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ADAPTIVE_SD_HOME", str(tmp_path))
    monkeypatch.setattr("adaptive_sd.models.home._configured", None)  # undone: it is for a process
    price = f"cost = {{ unit = '{unit}', per_million_in = 0.5, per_million_out = 2 }}\n"
    with serving(Script(kind="vllm")) as server:
        stage = f'engine = "openai"\nbase_url = "{server.url}"\nmodel = "tiny-7b"\n{price}'
        config = tmp_path / "ladder.toml"
        config.write_text("".join(f'[[stage]]\nname = "{n}"\n{stage}' for n in ("a", "b")))
        assert run(["answer", "hello", "--json", "--config", str(config)]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["cost_unit"] == unit
    assert 0 < answer["cost"] == pytest.approx(sum(step["cost"] for step in answer["trace"]))
