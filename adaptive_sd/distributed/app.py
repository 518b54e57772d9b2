"""A ladder as a Ray Serve application: a deployment for each stage, the cascade in front."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptive_sd.build import Cascade, open_cascade, open_stages, traces_path
from adaptive_sd.config import Config, read_config
from adaptive_sd.distributed.cluster import load_ray
from adaptive_sd.distributed.placement import Placement, absolute, placements
from adaptive_sd.distributed.remote import ask_facts, open_verdicts, remote_source
from adaptive_sd.distributed.replica import StageReplica
from adaptive_sd.distributed.wire import http_status, read_question
from adaptive_sd.errors import AdaptiveSDError, ConfigError
from adaptive_sd.models.home import use_home
from adaptive_sd.prompt import Prompt, prompt_text
from adaptive_sd.request import Request
from adaptive_sd.trace import Answer
from adaptive_sd.trace_store import TraceStore

_logger = logging.getLogger(__name__)

FRONT = "cascade"
"""Name of the deployment in front."""
_AT_A_TIME = 64
"""Answers of one front, each on a thread of its own."""
_FRONT_CPUS = 0.5


@dataclass(frozen=True, slots=True)
class Replicas:
    """Between how many replicas Ray Serve scales a deployment. Raises ConfigError."""

    least: int = 1
    most: int = 4

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise ConfigError(
                f"replicas from {self.least} to {self.most}; at least 1, and no fewer at most."
            )


def serve(
    config: Config | str | Path,
    *,
    replicas: Mapping[str, Replicas] | None = None,
    offline: bool = False,
) -> Any:
    """The application, for `ray.serve.run`: as `Cascade.from_config`, spread over a cluster.

    `replicas` are by stage; those of "cascade" are the fronts. Each machine needs this package;
    those that may run a stage need its model or fetch it, the fronts the artifact. Raises
    ConfigError, also for a ladder that learns while it runs, which is one process.
    """
    ladder = absolute(config if isinstance(config, Config) else read_config(Path(config)))
    return compose(ladder, placements(ladder, offline=offline), replicas or {})


def app(arguments: Mapping[str, str]) -> Any:
    """As `serve`, for `serve run adaptive_sd.distributed:app config=FILE NAME=LEAST-MOST`."""
    given = dict(arguments)
    if "config" not in given:
        raise ConfigError("write config=FILE, the ladder's configuration.")
    path = given.pop("config")
    return serve(path, replicas={name: _replicas(name, text) for name, text in given.items()})


def _replicas(name: str, text: str) -> Replicas:
    least, _, most = text.partition("-")
    try:
        return Replicas(int(least), int(most or least))
    except ValueError as error:
        raise ConfigError(f"{name}={text}: write it like {name}=1-4.") from error


def compose(config: Config, ladder: Sequence[Placement], replicas: Mapping[str, Replicas]) -> Any:
    """The application of stages that are opened like this."""
    known = [FRONT, *(placement.name for placement in ladder)]
    for name in replicas:
        if name not in known:
            raise ConfigError(f"replicas of {name!r}: no such stage; known: {', '.join(known)}.")
    if config.online:
        raise ConfigError("an online ladder learns in one process; leave `online` out to serve it.")
    deployment = load_ray("ray.serve").deployment
    handles = {
        placement.name: deployment(StageReplica)
        .options(
            name=placement.name,
            ray_actor_options=placement.resources,
            max_ongoing_requests=placement.slots + placement.max_waiting,
            max_queued_requests=placement.slots + placement.max_waiting,
            autoscaling_config=_scaling(replicas, placement.name, placement.slots),
        )
        .bind(placement)
        for placement in ladder
    }
    front = deployment(Front).options(
        name=FRONT,
        ray_actor_options={"num_cpus": _FRONT_CPUS},
        max_ongoing_requests=_AT_A_TIME,
        max_queued_requests=2 * _AT_A_TIME,
        autoscaling_config=_scaling(replicas, FRONT, _AT_A_TIME // 2),
    )
    return front.bind(config, handles)


def _scaling(replicas: Mapping[str, Replicas], name: str, ongoing: int) -> dict[str, int]:
    """`ongoing` requests of each are what it is made for."""
    wanted = replicas.get(name, Replicas())
    bounds = {"min_replicas": wanted.least, "max_replicas": wanted.most}
    return bounds | {"target_ongoing_requests": ongoing}


class Front:
    """The cascade over stages whose replicas are elsewhere; their handles are by name.

    Leaves its traces in the home folder of its machine, as `adaptive-sd answer` does.
    """

    def __init__(self, config: Config, handles: Mapping[str, Any]) -> None:
        if config.home is not None:
            use_home(config.home)
        self._threads = ThreadPoolExecutor(_AT_A_TIME)
        # handles may not be waited for on the thread that runs this
        opened = self._threads.submit(_open, config, handles).result()
        self._cascade, self._capped = opened
        self._store = TraceStore(traces_path())

    async def answer(self, prompt: Prompt, request: Request | None = None) -> Answer:
        """As Cascade.answer."""
        asyncio.get_running_loop().set_default_executor(self._threads)
        request = request or Request()
        is_capped = request.max_cost is not None or request.deadline_s is not None
        cascade = self._capped if is_capped else self._cascade
        given = await cascade.aanswer(prompt, request)
        await asyncio.to_thread(self._keep, prompt, given)
        return given

    async def __call__(self, http: Any) -> Any:
        """A JSON object with the prompt and fields of Request; the document of `answer --json`."""
        responses = load_ray("starlette.responses")
        try:
            prompt, request = read_question(await http.body())
            document, status = (await self.answer(prompt, request)).to_json(), 200
        except AdaptiveSDError as error:
            document, status = {"error": " ".join(str(error).split())}, http_status(error)
        body = json.dumps(document, ensure_ascii=False)
        return responses.Response(body, status_code=status, media_type="application/json")

    def _keep(self, prompt: Prompt, given: Answer) -> None:
        """The answer is there already: a trace that cannot be kept is no reason to fail."""
        try:
            self._store.append(prompt_text(prompt), given)
        except ConfigError as error:
            _logger.warning("%s", error)


def _open(config: Config, handles: Mapping[str, Any]) -> tuple[Cascade, Cascade]:
    """A cascade whose stages ask back where a draft may be abandoned, and one for capped requests.

    Caps are looked at before every pass and token; what asks so often is slower.
    """
    verdicts = open_verdicts()
    facts = {name: ask_facts(name, handle) for name, handle in handles.items()}
    plain, always = (
        {
            name: remote_source(name, handle, verdicts, facts[name], asks_always=asks_always)
            for name, handle in handles.items()
        }
        for asks_always in (False, True)
    )
    cascade = open_cascade(config, sources=plain)
    stages = open_stages(config, sources=always)
    capped = Cascade(stages, cascade.judge, lam=config.lam, on_failure=config.on_failure)
    return cascade, capped
