"""A ladder of two real servers: examined, asked, and with one that dies in the middle."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from adaptive_sd.build import Cascade
from adaptive_sd.cascade import Request
from adaptive_sd.cli import run
from adaptive_sd.errors import EndpointError
from tests.vllm.running import RunningServer

PROMPT = "Write a long story about a lighthouse, a storm and a lost ship."
SURE_TO_CLIMB = 1e9
"""The weight of quality at which any cost is worth a little more of it."""

STAGE = """
[[stage]]
name = "{name}"
engine = "openai"
base_url = "{url}"
model = "{name}"
first_byte_s = 300
whole_s = 600
cost = {{ unit = "gpu_s", per_million_in = {read}, per_million_out = {written} }}
"""


@pytest.fixture
def ladder(
    server: RunningServer,
    larger: RunningServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    monkeypatch.setenv("ADAPTIVE_SD_HOME", str(tmp_path))
    small = STAGE.format(name=server.name, url=server.url, read=12, written=150)
    large = STAGE.format(name=larger.name, url=larger.url, read=50, written=600)
    path = tmp_path / "ladder.toml"
    path.write_text(small + large)
    return path


def test_doctor_tells_what_works_at_each(ladder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--config", str(ladder), "--json"]) == 0
    for stage in json.loads(capsys.readouterr().out)["stages"]:
        found = stage["endpoint"]
        assert stage["error"] == "" and found["server"].startswith("vllm")
        assert found["verification"] and found["prefix_cache"] and found["tokenizer"]


def test_the_larger_model_verifies_what_the_smaller_wrote(ladder: Path) -> None:
    with Cascade.from_config(ladder) as cascade:
        answer = cascade.answer("What is the capital of France?", Request(max_tokens=24))
        climbed = cascade.answer(PROMPT, Request(lam=SURE_TO_CLIMB, max_tokens=24))
    assert answer.text and not answer.degraded and answer.cost_unit == "gpu_s"
    assert climbed.stage_index == 1 and climbed.text
    for step in (*answer.trace, *climbed.trace):
        assert "the server" not in step.reason  # no verification failed


def test_a_server_that_dies_in_the_middle_leaves_the_smaller_ones_answer(
    ladder: Path, larger: RunningServer
) -> None:
    """The last one: no test has the larger server after it."""

    answered = threading.Event()

    def kill_when_asked() -> None:
        while not larger.num_running() and not answered.is_set():
            time.sleep(0.05)
        larger.kill()

    with Cascade.from_config(ladder) as cascade:
        killer = threading.Thread(target=kill_when_asked)
        killer.start()
        try:
            answer = cascade.answer(PROMPT, Request(lam=SURE_TO_CLIMB, max_tokens=300))
        finally:
            answered.set()
            killer.join()
    assert answer.degraded and answer.stage_index == 0 and answer.text
    ladder.write_text('on_failure = "error"\n' + ladder.read_text())
    with Cascade.from_config(ladder) as cascade, pytest.raises(EndpointError, match=larger.url):
        cascade.answer(PROMPT, Request(lam=SURE_TO_CLIMB, max_tokens=8))
