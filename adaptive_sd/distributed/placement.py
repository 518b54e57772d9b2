"""What a worker or a replica of a stage opens, and what it takes of a machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from adaptive_sd.build import open_stages
from adaptive_sd.config import Config, StageConfig
from adaptive_sd.errors import ConfigError
from adaptive_sd.stage import Stage

_ENDPOINT_CPUS = 0.25
"""Of a machine that only asks a server."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A stage, opened by `open` on whichever machine has so many CPUs and GPUs to spare."""

    name: str
    open: Callable[[], Stage]
    num_cpus: float = 1.0
    num_gpus: float = 0.0

    @property
    def resources(self) -> dict[str, Any]:
        """As Ray's options name them."""
        return {"num_cpus": self.num_cpus, "num_gpus": self.num_gpus}


@dataclass(frozen=True, slots=True)
class Replicas:
    """Between how many replicas Ray Serve scales a stage. Raises ConfigError."""

    least: int = 1
    most: int = 4

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise ConfigError(
                f"replicas from {self.least} to {self.most}; give at least 1, and no fewer at most."
            )


def placements(config: Config, *, offline: bool = False) -> list[Placement]:
    """Of all stages. A local model has as many threads as CPUs: those it is given, else one.

    One with layers on a GPU has a GPU to itself; a served one takes hardly any CPU.
    """
    return [_placement(config, stage, offline) for stage in config.stages]


def _placement(config: Config, stage: StageConfig, offline: bool) -> Placement:
    if stage.endpoint is not None:
        return Placement(stage.name, partial(_open, config, stage, offline), _ENDPOINT_CPUS)
    threads = stage.threads or 1
    opened = partial(_open, config, replace(stage, threads=threads), offline)
    return Placement(stage.name, opened, threads, float(stage.gpu_layers > 0))


def _open(config: Config, stage: StageConfig, offline: bool) -> Stage:
    (opened,) = open_stages(replace(config, stages=(stage,)), offline=offline)
    return opened


def check_names(replicas: Mapping[str, Replicas], config: Config) -> None:
    """Raise ConfigError for replicas of a stage that is none of the ladder's."""
    known = [stage.name for stage in config.stages]
    for name in replicas:
        if name not in known:
            raise ConfigError(f"replicas of {name!r}: no such stage; known: {', '.join(known)}.")
