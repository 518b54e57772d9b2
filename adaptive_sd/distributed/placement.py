"""What a worker or a replica of a stage opens, and what it takes of a machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from adaptive_sd.build import open_stages
from adaptive_sd.config import Config, StageConfig
from adaptive_sd.models.home import use_home
from adaptive_sd.stage import Stage

_ENDPOINT_CPUS = 0.25
"""Of a machine that only asks a server."""
_MANY = 32
"""Requests at a time of a server, which has its own queue, and of vLLM where nothing says more."""


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

    One with layers on a GPU, or of transformers unless its `device_map` is "cpu", has a GPU to
    itself, one of vLLM as many as share its tensors; a served one takes hardly any CPU.
    """
    config = absolute(config)
    return [_placement(config, stage, offline) for stage in config.stages]


def absolute(config: Config) -> Config:
    """The same with whole paths: other processes have other folders to begin from."""
    artifact, home = config.artifact, config.home
    return replace(
        config,
        stages=tuple(map(_with_whole_path, config.stages)),
        artifact=artifact if artifact == "default" else _whole(artifact),
        home=None if home is None else Path(_whole(home)),
    )


def _with_whole_path(stage: StageConfig) -> StageConfig:
    """Of a model that is a file or folder here; other names are the same everywhere."""
    path = Path(stage.model).expanduser()
    holds_folders = stage.transformers is not None or stage.vllm is not None
    if not (path.suffix == ".gguf" and path.is_file()) and not (holds_folders and path.is_dir()):
        return stage
    model = _whole(path)
    vllm = None if stage.vllm is None else replace(stage.vllm, model=model)
    return replace(stage, model=model, vllm=vllm)


def _whole(path: str | Path) -> str:
    return str(Path(path).expanduser().absolute())


def _placement(config: Config, stage: StageConfig, offline: bool) -> Placement:
    if stage.endpoint is not None:
        opened = partial(_open, config, stage, offline)
        return Placement(stage.name, opened, _ENDPOINT_CPUS, slots=_MANY)
    threads = stage.threads or 1
    opened = partial(_open, config, replace(stage, threads=threads), offline)
    slots = stage.slots
    if stage.vllm is not None:
        slots = stage.vllm.options.get("max_num_seqs", _MANY)
    return Placement(stage.name, opened, threads, _num_gpus(stage), slots, stage.max_waiting)


def _num_gpus(stage: StageConfig) -> float:
    """By what is written: where this is asked there may be no GPU."""
    if stage.vllm is not None:
        return stage.vllm.tensor_parallel_size
    if stage.transformers is not None:
        return float(stage.transformers.device_map != "cpu")
    return float(stage.gpu_layers > 0)


def _open(config: Config, stage: StageConfig, offline: bool) -> Stage:
    if config.home is not None:
        use_home(config.home)
    (opened,) = open_stages(replace(config, stages=(stage,)), offline=offline)
    return opened
