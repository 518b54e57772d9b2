"""Rates measured once on this machine and kept in the home folder."""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from adaptive_sd.engines.verification import SPAN_ROWS
from adaptive_sd.types import Rates

TOLERANCE = 0.25
"""Relative difference of rates, or of a stage's mean cost, up to which a fit for others will do."""


def rates_of(key: str, path: Path, measure: Callable[[], Rates], *, again: bool = False) -> Rates:
    """Rates kept under `key` in the file at `path`; measured and kept there when absent.

    Where the file cannot be written they are measured each time.
    """
    known = None if again else _read(path).get(key)
    if known is None:
        known = measure()
        with contextlib.suppress(OSError):
            _write(path, _read(path) | {key: known})  # read again: another model may have come
    return known


def rates_key(model_hash: str, engine: str, *, threads: int | None, gpu_layers: int) -> str:
    """All that the rates of a model depend on."""
    num_threads = threads or len(os.sched_getaffinity(0))
    gpu = f" gpu {gpu_layers}" if gpu_layers else ""
    rows = ",".join(map(str, SPAN_ROWS))
    return f"{model_hash[:16]} {engine} {cpu_name()} x{num_threads}{gpu} rows {rows}"


def cpu_name() -> str:
    """Of this machine, for people."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def differ(rates: Rates, other: Rates) -> bool:
    """Whether reading or decoding a token takes more or less than a fit for `rates` will do for."""
    pairs = ((rates.prefill_s, other.prefill_s), (rates.decode_s, other.decode_s))
    return any(abs(theirs - ours) > TOLERANCE * ours for ours, theirs in pairs)


def _read(path: Path) -> dict[str, Rates]:
    """What is stored; a damaged file counts as empty, since measuring again repairs it."""
    try:
        raw = json.loads(path.read_text())
        known = {key: Rates.from_json(value) for key, value in raw.items()}
        return {key: rates for key, rates in known.items() if _is_usable(rates)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _is_usable(rates: Rates) -> bool:
    seconds = [rates.prefill_s, rates.decode_s, *(s for _, s in rates.verify_s)]
    rows = [n for n, _ in rates.verify_s]
    return (
        all(0 < s < math.inf for s in seconds)
        and all(isinstance(n, int) and n > 0 for n in rows)
        and rows == sorted(rows)
    )


def _write(path: Path, known: dict[str, Rates]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps({k: asdict(r) for k, r in known.items()}, indent=1))
    temporary.replace(path)
