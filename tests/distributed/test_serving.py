"""Served by a local Ray: answers and steps of the cascade here, also where a replica is killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytest.importorskip("ray", reason="ray is not installed; make test-ray installs it")

from adaptive_sd.artifact import Artifact, save_artifact
from adaptive_sd.cascade import Cascade, Request
from adaptive_sd.config import Config, StageConfig
from adaptive_sd.distributed.app import FRONT, Front, Replicas, compose, serve
from adaptive_sd.distributed.placement import Placement
from adaptive_sd.distributed.remote import RemoteEngine, ask_facts
from adaptive_sd.distributed.replica import Verdicts
from adaptive_sd.engines.fake import FakeEngine
from adaptive_sd.errors import ConfigError, ContextOverflowError, EndpointError
from adaptive_sd.judge import FittedJudge
from adaptive_sd.sources import Source
from adaptive_sd.stage import Stage
from adaptive_sd.trace import Answer
from adaptive_sd.trace_store import recorded_answers
from adaptive_sd.types import Draft, Message, Offer, Progress, Sampling
from tests.ladder import SKILL, make_engine, make_tasks

pytestmark = [
    pytest.mark.usefixtures("local_ray"),
    pytest.mark.filterwarnings("default"),  # Ray's own
]

*PROMPTS, FATAL_TOO = [task.prompt for task in make_tasks(25, seed=5)]
FATAL = PROMPTS[11]
"""The first replica that reads one of the two is killed."""
TOO_LONG = "Write it all: what is the sum 1 + 1?"
LONG = "Say it at length: what is the sum 2 + 2?"


def scripted(name: str, folder: Path) -> FakeEngine:
    engine = make_engine(name)
    script, logprob = engine._script, engine._logprob

    def answer(prompt: str) -> str:
        if TOO_LONG in prompt:
            raise ContextOverflowError("the prompt is too long")
        if LONG in prompt:
            return " ".join(f"word{n}" for n in range(80))
        for name, fatal in (("one", FATAL), ("another", FATAL_TOO)):
            mark = folder / f"{name} was fatal"
            if fatal in prompt and folder.name == "there" and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return script(prompt)

    def surety(prompt: str) -> float:
        return -0.1 if "#" not in prompt or not callable(logprob) else logprob(prompt)

    engine._script, engine._logprob = answer, surety
    return engine


def open_stage(name: str, folder: Path) -> Stage:
    load = partial(scripted, name, folder)
    source = Source(load, name, name, model_hash=load().info.model_hash, num_parameters=1)
    return Stage(name, source=source, rates_path=folder / "rates.json")


class App(NamedTuple):
    """A ladder that degrades and one that does not, on the same replicas; one that is here."""

    handle: Any
    strict: Any
    url: str
    here: Cascade
    stages: dict[str, Any]
    home: Path


@pytest.fixture(scope="module")
def app(
    local_ray: None, home: Path, artifact: Artifact, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[App]:
    from ray import serve as ray_serve

    folder = tmp_path_factory.mktemp("app")
    (there := folder / "there").mkdir()
    save_artifact(artifact, folder / "artifact")
    stages = tuple(StageConfig(name, name) for name in SKILL)
    config = Config(stages, artifact=str(folder / "artifact"))
    ladder = [Placement(name, partial(open_stage, name, there), 0.1) for name in SKILL]
    two = {name: Replicas(2 if name == "large" else 1, 2) for name in SKILL}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ray_serve.start(http_options={"port": port})
    handle = ray_serve.run(compose(config, ladder, two), name="ladder", route_prefix="/")
    handles = {name: ray_serve.get_deployment_handle(name, "ladder") for name in SKILL}
    front = ray_serve.deployment(Front).options(name=FRONT, ray_actor_options={"num_cpus": 0.1})
    strict = ray_serve.run(
        front.bind(replace(config, on_failure="error"), handles), name="strict", route_prefix=None
    )
    here = Cascade([open_stage(name, folder) for name in SKILL], FittedJudge(artifact))
    yield App(handle, strict, f"http://127.0.0.1:{port}/", here, handles, home)
    ray_serve.shutdown()


def comparable(answer: Answer) -> dict[str, object]:
    return answer.to_json() | {"trace_id": "", "latency_s": 0.0}


def has_failed(answer: Answer) -> bool:
    return any(step.reason.startswith("failed:") for step in answer.trace)


REQUESTS = [Request(), Request(lam=5.0), Request(max_cost=0.9), Request(max_tokens=3)]


@pytest.mark.parametrize("request_", REQUESTS)
def test_answers_and_steps_are_those_of_the_cascade_here(app: App, request_: Request) -> None:
    for prompt in PROMPTS[:8]:
        there = app.handle.answer.remote(prompt, request_).result()
        assert comparable(there) == comparable(app.here.answer(prompt, request_))


def ask(app: App, document: object) -> tuple[int, dict[str, Any]]:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(app.url, data=body)) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_over_http_the_document_is_that_of_answer(app: App) -> None:
    status, found = ask(app, {"prompt": PROMPTS[0], "lambda": 5})
    here = json.loads(json.dumps(app.here.answer(PROMPTS[0], Request(lam=5.0)).to_json()))
    assert status == 200
    assert {k: v for k, v in found.items() if k not in ("trace_id", "latency_s")} == {
        k: v for k, v in here.items() if k not in ("trace_id", "latency_s")
    }
    for document, code, said in (
        (b"no", 400, "no JSON"),
        ({"prompt": TOO_LONG}, 400, "too long"),
        ({"prompt": "x", "temprature": 1}, 400, "unknown field 'temprature'"),
    ):
        status, found = ask(app, document)
        assert status == code and said in found["error"]


def stop_after(most: int, seen: list[object]) -> Callable[[Progress], bool]:
    def observe(progress: Progress) -> bool:
        told = (progress.new_text, progress.num_tokens, tuple(progress.token_logprobs))
        seen.append((*told, progress.work.num_read, dict(progress.work.passes)))
        return progress.num_tokens < most

    return observe


def without_seconds(draft: Draft) -> object:
    assert draft.hidden is not None
    return asdict(replace(draft, hidden=None)), draft.hidden.tobytes()


@pytest.mark.parametrize("most", [5, 32, 1000])
def test_an_observer_ends_an_answer_there_as_here(app: App, most: int) -> None:
    """Where it is asked always it sees the same; else the same at the checkpoints."""
    import ray

    verdicts = ray.remote(Verdicts).options(num_cpus=0).remote()
    facts = ask_facts("small", app.stages["small"])
    asked = [Message("user", LONG)], Sampling()
    offer = Offer("word0 word1 other")
    seen: list[object] = []
    draft = scripted("small", Path()).generate(*asked, draft=offer, observer=stop_after(most, seen))
    for asks_always in (True, False):
        engine = RemoteEngine(
            "small", app.stages["small"], verdicts, facts, asks_always=asks_always
        )
        told: list[object] = []
        there = engine.generate(*asked, draft=offer, observer=stop_after(most, told))
        if asks_always:
            assert told == seen
        if asks_always or most != 5:  # which is no checkpoint
            assert without_seconds(there) == without_seconds(draft)
    votes = [list(asked[0]), Sampling(), [1, 2, 3, 4]]
    here = scripted("small", Path()).sample(*votes, is_decided=lambda texts, _: len(texts) >= 2)
    there = engine.sample(*votes, is_decided=lambda texts, _: len(texts) >= 2)
    assert list(map(without_seconds, there)) == list(map(without_seconds, here))


def test_with_a_replica_killed_every_request_is_answered_once(app: App) -> None:
    before = len(list(recorded_answers(app.home / "traces.sqlite")))
    with ThreadPoolExecutor(6) as callers:
        found = list(callers.map(lambda p: app.handle.answer.remote(p).result(), PROMPTS))
    assert has_failed(found[PROMPTS.index(FATAL)])
    for prompt, answer in zip(PROMPTS, found, strict=True):
        assert answer.text
        if not has_failed(answer):
            assert comparable(answer) == comparable(app.here.answer(prompt))
    kept = [a["trace_id"] for a in recorded_answers(app.home / "traces.sqlite")][before:]
    assert sorted(kept) == sorted(answer.trace_id for answer in found)
    again = app.handle.answer.remote(FATAL).result()  # by the replica that came in its place
    assert comparable(again) == comparable(app.here.answer(FATAL))


def test_where_a_failure_is_an_error_it_is_told_once(app: App) -> None:
    with pytest.raises(EndpointError, match="its replica is lost"):
        app.strict.answer.remote(FATAL_TOO).result()
    found = app.strict.answer.remote(FATAL_TOO).result()
    assert comparable(found) == comparable(app.here.answer(FATAL_TOO))


def test_what_cannot_be_served_is_refused() -> None:
    stages = (StageConfig("small", "small"),)
    with pytest.raises(ConfigError, match="learns in one process"):
        serve(Config(stages, online=True))
    with pytest.raises(ConfigError, match="'smal': no such stage"):
        serve(Config(stages), replicas={"smal": Replicas()})
    with pytest.raises(ConfigError, match="at least 1"):
        Replicas(0, 2)
