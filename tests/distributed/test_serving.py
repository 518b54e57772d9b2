"""Served by a local Ray: answers and steps of the cascade here, also where a replica is killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, replace
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytest.importorskip("ray", reason="ray is not installed; make test-ray installs it")

from adaptive_sd.artifact import Artifact, save_artifact
from adaptive_sd.cascade import Cascade, Request
from adaptive_sd.config import Config, StageConfig
from adaptive_sd.distributed.app import FRONT, Front, Replicas, compose, serve
from adaptive_sd.distributed.placement import Placement
from adaptive_sd.distributed.remote import RemoteEngine, ask_facts, map_errors, open_verdicts
from adaptive_sd.distributed.replica import Verdicts
from adaptive_sd.engines.fake import FakeEngine
from adaptive_sd.errors import ConfigError, ContextOverflowError, EndpointError, QueueFullError
from adaptive_sd.judge import FittedJudge
from adaptive_sd.sources import Source
from adaptive_sd.stage import Stage
from adaptive_sd.trace import Answer
from adaptive_sd.trace_store import recorded_answers
from adaptive_sd.types import Draft, Message, Offer, Progress, Sampling
from tests.ladder import RATES, SKILL, make_engine, make_tasks

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
    local_ray: None, artifact: Artifact, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[App]:
    from ray import serve as ray_serve

    folder = tmp_path_factory.mktemp("app")
    (there := folder / "there").mkdir()
    save_artifact(artifact, folder / "artifact")
    stages = tuple(StageConfig(name, name) for name in SKILL)
    config = Config(stages, artifact=str(folder / "artifact"), home=folder / "house")
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
    yield App(handle, strict, f"http://127.0.0.1:{port}/", here, handles, folder / "house")
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
    verdicts = open_verdicts()
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


def test_lost_verdicts_come_again(app: App) -> None:
    import ray

    verdicts = open_verdicts()
    engine = RemoteEngine(
        "small",
        app.stages["small"],
        verdicts,
        ask_facts("small", app.stages["small"]),
        asks_always=True,
    )
    asked = [Message("user", LONG)], Sampling()
    whole = engine.generate(*asked, observer=lambda progress: True)
    ray.kill(verdicts, no_restart=False)
    for _ in range(100):
        with contextlib.suppress(EndpointError):  # of answers that had begun
            assert engine.generate(*asked, observer=lambda progress: True).text == whole.text
            return
    pytest.fail("they never came")


async def said_after(order: Sequence[str]) -> object:
    """What is kept when the asking side "a" and the replica's "r" have spoken in this order."""
    verdicts, heard = Verdicts(), []
    words = {
        "a": iter((partial(verdicts.say, "run", True), partial(verdicts.forget, "run"))),
        "r": iter((partial(verdicts.hear, "run"), partial(verdicts.forget, "run"))),
    }
    for side in order:
        heard.append(asyncio.create_task(next(words[side])()))
        await asyncio.sleep(0)
    await asyncio.wait(heard, timeout=10)
    return verdicts._said


@pytest.mark.parametrize("order", sorted(set(permutations("aarr"))))
def test_verdicts_keep_nothing_of_answers_that_ended(order: Sequence[str]) -> None:
    """Whichever side goes first: each says `forget` after all else that it says."""
    assert asyncio.run(said_after(order)) == {}


def test_whatever_ray_raises_is_an_error_of_ours() -> None:
    from ray import exceptions as ray
    from ray.serve.exceptions import BackPressureError, RayServeException

    for error in (
        ray.OutOfMemoryError("x"),
        ray.WorkerCrashedError(),
        ray.NodeDiedError("x"),
        ray.RayTaskError("f", "trace", ValueError("x")).as_instanceof_cause(),
        RayServeException("x"),
    ):
        lost = pytest.raises(EndpointError, match=r"^small: its replica is lost \(.*\)\.$")
        with lost, map_errors("small"):
            raise error
    with pytest.raises(QueueFullError, match="small: "), map_errors("small"):
        raise BackPressureError(num_queued_requests=1, max_queued_requests=1)


def waiting_stage(folder: Path) -> Stage:
    engine = make_engine("small")
    script = engine._script

    def answer(prompt: str) -> str:
        while PROMPTS[0] in prompt and not (folder / "go on").exists():
            time.sleep(0.05)
        return script(prompt)

    engine._script = answer
    source = Source(lambda: engine, "small", "small", engine.info.model_hash, 1, RATES["small"])
    return Stage("small", source=source, rates_path=folder / "rates.json")


def test_what_has_no_room_is_told_so_and_the_rest_is_answered(app: App, tmp_path: Path) -> None:
    """Two are at the replica, two in Ray's queue: more get 503 while those wait."""
    from ray import serve as ray_serve

    config = Config((StageConfig("small", "small", parameters="1b"),))
    placement = Placement("small", partial(waiting_stage, tmp_path), 0.1, slots=1, max_waiting=1)
    composed = compose(config, [placement], {"small": Replicas(1, 1), FRONT: Replicas(1, 1)})
    ray_serve.run(composed, name="full", route_prefix="/full")
    full, asked = app._replace(url=f"{app.url}full"), {"prompt": PROMPTS[0]}
    with ThreadPoolExecutor(12) as callers:
        found = [callers.submit(ask, full, asked) for _ in range(12)]
        refused = next(as_completed(found)).result()
        (tmp_path / "go on").touch()
        statuses = [each.result()[0] for each in found]
    assert refused[0] == 503 and "ask again later" in refused[1]["error"]
    assert set(statuses) == {200, 503} and statuses.count(200) >= 2
    ray_serve.delete("full")


def test_what_cannot_be_served_is_refused() -> None:
    stages = (StageConfig("small", "small"),)
    with pytest.raises(ConfigError, match="learns in one process"):
        serve(Config(stages, online=True))
    with pytest.raises(ConfigError, match="'smal': no such stage"):
        serve(Config(stages), replicas={"smal": Replicas()})
    with pytest.raises(ConfigError, match="at least 1"):
        Replicas(0, 2)
