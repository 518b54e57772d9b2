"""How replay and fit grow with the table; every size in a process of its own."""

from __future__ import annotations

import math
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from adaptive_sd.artifact import load_artifact, save_artifact
from adaptive_sd.data.outcomes import read_outcomes
from adaptive_sd.offline.fit import fit_artifact
from adaptive_sd.offline.replay.run import replay
from adaptive_sd.offline.replay.seen import unread
from adaptive_sd.offline.synthetic import SKILL, write_synthetic

REPLAY_SIZES = (1_000, 10_000, 100_000, 1_000_000)
FIT_SIZES = (1_000, 10_000, 50_000, 200_000)
_ARTIFACT_PROMPTS = 2_000
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ScaleRow:
    """One command on one table, reading included; `work` is "replay" or "fit".

    `cpu_s` is what the process computed, `peak_mib` the most memory that it held.
    """

    work: str
    num_prompts: int
    num_stages: int
    num_lambdas: int | None
    seconds: float
    cpu_s: float
    peak_mib: float

    @property
    def prompts_per_s(self) -> float:
        return self.num_prompts / self.seconds


def growths(rows: Sequence[ScaleRow]) -> dict[str, float]:
    """By which power of the prompts CPU seconds grow between the two largest sizes: 1 is linear."""
    found = {}
    for work in dict.fromkeys(row.work for row in rows):
        *_, first, second = [rows[0], *(row for row in rows if row.work == work)]
        if second.num_prompts > first.num_prompts and first.work == work:
            more = second.num_prompts / first.num_prompts
            found[work] = math.log(second.cpu_s / first.cpu_s) / math.log(more)
    return found


def bench_replay(
    max_prompts: int, max_fit_prompts: int, *, texts: bool, seed: int = 0
) -> Iterator[ScaleRow]:
    """Rows by size, as they come: first of replay with a small artifact, then of fit."""
    with tempfile.TemporaryDirectory() as folder:
        artifact, table = Path(folder) / "artifact", Path(folder) / "table.parquet"
        few = min(_ARTIFACT_PROMPTS, max_prompts)
        _alone(_make_artifact, table, artifact, few, seed, texts)
        for size in _up_to(max_prompts, REPLAY_SIZES):
            _alone(_write, table, size, seed + 1, texts)
            yield _alone(_time_replay, table, artifact, size)
        for size in _up_to(min(max_prompts, max_fit_prompts), FIT_SIZES):
            _alone(_write, table, size, seed + 1, texts)
            yield _alone(_time_fit, table, size)


def _up_to(largest: int, sizes: tuple[int, ...]) -> list[int]:
    return [size for size in sizes if size <= largest] or [largest]


def _alone(work: Callable[..., T], *arguments: object) -> T:
    """In a process of its own, so that its memory is its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(work, *arguments).result()


def _write(path: Path, size: int, seed: int, texts: bool) -> None:
    write_synthetic(path, size, seed=seed, texts=texts)


def _make_artifact(table: Path, folder: Path, size: int, seed: int, texts: bool) -> None:
    _write(table, size, seed, texts)
    save_artifact(fit_artifact(read_outcomes(table), seed=seed)[0], folder)


def _time_replay(table: Path, artifact: Path, size: int) -> ScaleRow:
    start_s = time.perf_counter()
    fitted = load_artifact(artifact)
    outcomes = read_outcomes(table, without=unread(fitted))
    report = replay(outcomes, policies=("adaptive",), artifact=fitted)
    num_lams = sum(isinstance(p.dial, float) for p in report.policies["adaptive"].points)
    return _row("replay", size, num_lams, time.perf_counter() - start_s)


def _time_fit(table: Path, size: int) -> ScaleRow:
    start_s = time.perf_counter()
    fit_artifact(read_outcomes(table))
    return _row("fit", size, None, time.perf_counter() - start_s)


def _row(work: str, size: int, num_lams: int | None, seconds: float) -> ScaleRow:
    used = resource.getrusage(resource.RUSAGE_SELF)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return ScaleRow(
        work=work,
        num_prompts=size,
        num_stages=len(SKILL),
        num_lambdas=num_lams,
        seconds=seconds,
        cpu_s=used.ru_utime + used.ru_stime,
        peak_mib=used.ru_maxrss / unit,
    )
