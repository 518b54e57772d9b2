"""The Ray cluster that work is spread over: an address, or workers of this machine."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from adaptive_sd.distributed.placement import Placement
from adaptive_sd.errors import AdaptiveSDError, ConfigError, EngineError

_STORE_BYTES = 200 * 2**20
"""Of the object store that Ray begins here: rows are small."""


def load_ray(module: str = "ray") -> Any:
    """Raises ConfigError with what to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"{module} cannot be imported ({error}); pip install 'adaptive-sd[ray]'."
        ) from error


@contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Joined at `address` ("auto": the one of this machine), else begun here and ended after.

    A process that has joined one stays there. What Ray raises is told in a line of ours. Raises
    ConfigError where Ray is not installed or nothing answers at the address.
    """
    ray = load_ray()
    if ray.is_initialized():
        with _told(ray):
            yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # tells nobody of this machine
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        options |= {"include_dashboard": False, "object_store_memory": _STORE_BYTES}
    try:
        ray.init(address or "local", **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"no Ray cluster at {address or 'local'} ({one_line(error)}); begin one with "
            "`ray start --head`."
        ) from error
    try:
        with _told(ray):
            yield
    finally:
        ray.shutdown()


def check_room(placements: Sequence[Placement]) -> None:
    """Raise ConfigError for a stage of which the cluster could never place a worker."""
    there = load_ray().cluster_resources()
    for placement in placements:
        for name, wanted in (("CPU", placement.num_cpus), ("GPU", placement.num_gpus)):
            if wanted > there.get(name, 0):
                raise ConfigError(
                    f"stage {placement.name!r} needs {wanted:g} {name} a worker, the cluster has "
                    f"{there.get(name, 0):g}; add machines, or change the stage's threads, "
                    "gpu_layers or device_map."
                )


@contextmanager
def _told(ray: Any) -> Iterator[None]:
    try:
        yield
    except ray.exceptions.RayError as error:
        raise _ours(error) from error


def _ours(error: BaseException) -> AdaptiveSDError:
    """What a worker of ours raised, wherever Ray keeps it; else a line of what Ray says."""
    cause: BaseException | None = error
    while cause is not None:
        inner = getattr(cause, "cause", None)  # what Ray wraps looks like an error of ours too
        if inner is None and isinstance(cause, AdaptiveSDError):
            return type(cause)(*cause.args)
        cause = inner or cause.__cause__
    return EngineError(f"Ray gave up: {one_line(error)}; look into the logs of its workers.")


def one_line(error: BaseException) -> str:
    """What it says, in at most 300 characters."""
    return f"{' '.join(str(error).split()):.300}"
