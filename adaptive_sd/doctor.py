"""What this machine is, which models it has, how fast they run, and what fits."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from adaptive_sd.config import Config, StageConfig
from adaptive_sd.engines.transformers.options import check_installed
from adaptive_sd.errors import AdaptiveSDError
from adaptive_sd.machine import memory_bytes
from adaptive_sd.models.catalogue import CatalogueEntry, load_catalogue
from adaptive_sd.models.folders import resolve_checkpoint
from adaptive_sd.models.gguf import read_header
from adaptive_sd.models.home import home_dir
from adaptive_sd.models.store import file_of, resolve, verify
from adaptive_sd.sources import run_by_vllm
from adaptive_sd.stage import Stage
from adaptive_sd.types import Rates

if TYPE_CHECKING:
    from adaptive_sd.engines.openai.examining import EndpointReport

CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "f16c", "fma", "asimd")
_KV_BYTES_A_TOKEN = 32_000  # of the largest model of the catalogue, in 16 bits, rounded up
_OVERHEAD_BYTES = 400_000_000
_KEPT_TOKENS = 2048  # beginnings kept beside the context (engines.prefixes)
_LEAST_CONTEXT = 512


@dataclass(frozen=True, slots=True)
class Tool:
    """Something optional: whether it is here, and the command that checks it by hand."""

    name: str
    found: str
    check: str


@dataclass(frozen=True, slots=True)
class ModelReport:
    """A cached model; rates in tokens a second, None when it was not measured."""

    name: str
    bytes: int
    state: str
    prefill_per_s: float | None
    decode_per_s: float | None
    fits: bool


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that `doctor` prints."""

    python: str
    cpu: str
    cpu_flags: tuple[str, ...]
    num_cores: int
    memory_bytes: int
    memory_free_bytes: int
    home: str
    disk_free_bytes: int
    tools: tuple[Tool, ...]
    models: tuple[ModelReport, ...]
    advice: tuple[str, ...]
    stages: tuple[StageReport, ...] = ()


@dataclass(frozen=True, slots=True)
class StageReport:
    """A stage of a configured ladder: whether it can answer, else why not ("" where it can)."""

    name: str
    engine: str
    model: str
    error: str = ""
    endpoint: EndpointReport | None = None


def examine(
    *, context: int = 4096, slots: int = 1, again: bool = False, free_bytes: int | None = None
) -> Report:
    """Look at the machine, or plan for `free_bytes` of memory and `slots` in every stage.

    Measures rates of cached models that were not measured (or `again`).
    """
    memory, available = memory_bytes()
    free = available if free_bytes is None else free_bytes
    existing = next(p for p in [home_dir(), *home_dir().parents] if p.exists())
    models = tuple(
        _model(entry, context * slots, free, again)
        for entry in load_catalogue().values()
        if file_of(entry).exists()
    )
    name, flags = _cpu()
    return Report(
        python=f"{platform.python_version()} ({sys.executable})",
        cpu=name,
        cpu_flags=flags,
        num_cores=len(os.sched_getaffinity(0)),
        memory_bytes=memory,
        memory_free_bytes=free,
        home=str(home_dir()),
        disk_free_bytes=shutil.disk_usage(existing).free,
        tools=_tools(),
        models=models,
        advice=_advice(models, context, slots, free),
    )


def examine_stages(config: Config) -> tuple[StageReport, ...]:
    """Whether each stage's model is here and whole, or what works at its endpoint."""
    return tuple(map(_stage, config.stages))


def _stage(stage: StageConfig) -> StageReport:
    report = StageReport(stage.name, stage.engine, stage.model)
    try:
        if stage.vllm is not None:
            run_by_vllm(stage.vllm, parameters=stage.parameters, offline=True)
            return report
        if stage.endpoint is None:
            if stage.transformers is None:
                resolve(stage.model, offline=True)
            else:
                check_installed(stage.transformers)
                resolve_checkpoint(stage.model, offline=True)
            return report
        from adaptive_sd.engines.openai.examining import examine_endpoint  # loads an HTTP library

        return replace(report, endpoint=examine_endpoint(stage.endpoint))
    except AdaptiveSDError as error:
        return replace(report, error=str(error))


def needed_bytes(model_bytes: int, context: int) -> int:
    """Memory of one model, however many stages share it: weights, all slots' cells, buffers."""
    return model_bytes + (context + _KEPT_TOKENS) * _KV_BYTES_A_TOKEN + _OVERHEAD_BYTES


def _model(entry: CatalogueEntry, context: int, free: int, again: bool) -> ModelReport:
    fits = needed_bytes(entry.bytes, context) <= free
    try:
        verify(entry)
        read_header(file_of(entry))
        rates = _rates(entry, again) if fits else None
        state = "whole"
    except AdaptiveSDError as error:
        rates, state = None, str(error)
    return ModelReport(
        name=entry.name,
        bytes=entry.bytes,
        state=state,
        prefill_per_s=None if rates is None else 1 / rates.prefill_s,
        decode_per_s=None if rates is None else 1 / rates.decode_s,
        fits=fits,
    )


def _rates(entry: CatalogueEntry, again: bool) -> Rates:
    with Stage(entry.name, offline=True, rates_path=home_dir() / "rates.json") as stage:
        return stage.measure_rates(again=again)


def _advice(
    models: tuple[ModelReport, ...], context: int, slots: int, free: int
) -> tuple[str, ...]:
    """For a lack of memory, the next smaller choices that fit."""
    if not models:
        return ("no model is cached: `adaptive-sd models pull smollm2-135m`",)
    sizes = [model.bytes for model in models]
    needed = _ladder_bytes(sizes, context * slots)
    if needed <= free:
        return ()
    lack = f"all cached models together need {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
    smaller = next(
        (c for c in _smaller_contexts(context) if _ladder_bytes(sizes, c * slots) <= free), None
    )
    fewer = next(
        (n for n in range(slots - 1, 0, -1) if _ladder_bytes(sizes, context * n) <= free), 0
    )
    kept = next(
        (n for n in range(len(models), 0, -1) if _ladder_bytes(sizes[:n], context * slots) <= free),
        0,
    )
    choices = []
    if fewer:
        choices.append(f"fewer slots (slots = {fewer})")
    if smaller is not None:
        choices.append(f"a smaller context (--context {smaller})")
    if kept:
        choices.append(f"a smaller ladder (--stages {','.join(m.name for m in models[:kept])})")
    choices.append(
        f"a quantisation of {models[-1].name} with fewer bits (a GGUF file of your own in --stages)"
    )
    return (f"{lack}: take {', or '.join(choices)}",)


def _smaller_contexts(context: int) -> list[int]:
    return [context >> i for i in range(1, 8) if context >> i >= _LEAST_CONTEXT]


def _ladder_bytes(sizes: list[int], context: int) -> int:
    return sum(needed_bytes(size, context) for size in sizes)


def _tools() -> tuple[Tool, ...]:
    return (
        Tool("cuda", _first_line(["nvidia-smi", "-L"]), "nvidia-smi -L"),
        Tool(
            "torch",
            _module_says("import torch; print(torch.__version__, torch.cuda.is_available())"),
            'python -c "import torch; print(torch.cuda.is_available())"',
        ),
        Tool(
            "vllm",
            _module_says("import vllm; print(vllm.__version__)"),
            'python -c "from vllm import ModelRegistry as m; print(m.get_supported_archs())"',
        ),
    )


def _module_says(program: str) -> str:
    return _first_line([sys.executable, "-c", program])


def _first_line(command: list[str]) -> str:
    """What a command prints, or "" when it is not there or fails."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return ""
    return result.stdout.strip().splitlines()[0] if result.returncode == 0 and result.stdout else ""


def _cpu() -> tuple[str, tuple[str, ...]]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine(), ()
    entries = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines) if k}
    flags = set((entries.get("flags") or entries.get("Features", "")).split())
    return entries.get("model name", platform.machine()), tuple(f for f in CPU_FLAGS if f in flags)
