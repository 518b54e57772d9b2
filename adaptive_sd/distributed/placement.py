"""What a worker or a replica of a stage opens, and what it takes of a machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from adaptive_sd.build import open_stages
from adaptive_sd.config import Config, StageConfig
from adaptive_sd.stage import Stage

_ENDPOINT_CPUS = 0.25
"""Of a machine that only asks a server."""
_ENDPOINT_SLOTS = 32
"""Requests that one asks at a time; the server has its own queue."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A stage, opened by `open` on whichever machine has so many CPUs and GPUs to spare.

    It answers `slots` requests at a time while `max_waiting` wait.
    """

    name: str
    open: Callable[[], Stage]
    num_cpus: float = 1.0
    num_gpus: float = 0.0
    slots: int = 1
    max_waiting: int = 64

    @property
    def resources(self) -> dict[str, Any]:
        """As Ray's options name them."""
        return {"num_cpus": self.num_cpus, "num_gpus": self.num_gpus}


def placements(config: Config, *, offline: bool = False) -> list[Placement]:
    """Of all stages. A local model has as many threads as CPUs: those it is given, else one.

    One with layers on a GPU has a GPU to itself; a served one takes hardly any CPU.
    """
    return [_placement(config, stage, offline) for stage in config.stages]


def _placement(config: Config, stage: StageConfig, offline: bool) -> Placement:
    if stage.endpoint is not None:
        opened = partial(_open, config, stage, offline)
        return Placement(stage.name, opened, _ENDPOINT_CPUS, slots=_ENDPOINT_SLOTS)
    threads = stage.threads or 1
    opened = partial(_open, config, replace(stage, threads=threads), offline)
    num_gpus = float(stage.gpu_layers > 0)
    return Placement(stage.name, opened, threads, num_gpus, stage.slots, stage.max_waiting)


def _open(config: Config, stage: StageConfig, offline: bool) -> Stage:
    (opened,) = open_stages(replace(config, stages=(stage,)), offline=offline)
    return opened
