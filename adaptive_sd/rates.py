"""Rates measured once on this machine and kept in the home folder."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict
from pathlib import Path

from adaptive_sd.engines.base import Engine, EngineInfo
from adaptive_sd.types import Rates


def rates_of(engine: Engine, path: Path, *, again: bool = False) -> Rates:
    """Rates of `engine` from the file at `path`, measured and kept there when absent."""
    key = _key(engine.info)
    known = _read(path)
    if again or key not in known:
        known[key] = engine.measure_rates()
        _write(path, known)
    return known[key]


def _key(info: EngineInfo) -> str:
    cpus = len(os.sched_getaffinity(0))
    return f"{info.model_hash[:16]} {info.engine} {info.engine_version} {_cpu_name()} x{cpus}"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _read(path: Path) -> dict[str, Rates]:
    """What is stored; a damaged file counts as empty, since measuring again repairs it."""
    try:
        raw = json.loads(path.read_text())
        return {
            key: Rates(v["prefill_s"], v["decode_s"], tuple(map(tuple, v["verify_s"])))
            for key, v in raw.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _write(path: Path, known: dict[str, Rates]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps({k: asdict(r) for k, r in known.items()}, indent=1))
    temporary.replace(path)
