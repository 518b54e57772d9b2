"""Starts vLLM; its reasons for not starting become one line of ours."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

from adaptive_sd.engines.vllm.log import EngineLog
from adaptive_sd.engines.vllm.options import VllmOptions
from adaptive_sd.errors import ConfigError, EngineError, MemoryLackError

_NO_ROOM = re.compile(
    r"\((?P<free>[\d.]+)/(?P<total>[\d.]+) GiB\) on startup is less than .*?"
    r"\([\d.]+, (?P<needed>[\d.]+) GiB\)"
)
_NO_CACHE = re.compile(
    r"\((?P<needed>[\d.]+) GiB KV cache is needed, which is larger than the available KV cache "
    r"memory \((?P<free>[\d.]+) GiB\)\.(.*?maximum model length is (?P<context>\d+))?"
)
_NO_GPU_MEMORY = re.compile(
    r"out of memory\. Tried to allocate (?P<needed>[\d.]+ \w+)\..*? total capacity of "
    r"(?P<total>[\d.]+ \w+) of which (?P<free>[\d.]+ \w+) is free"
)
_LAST_ERROR = re.compile(r"^.*?\b((?:\w+\.)*\w*(?:Error|Exception|Exit)): (.+)$", re.MULTILINE)
_CONSEQUENCES = ("Engine core initialization failed", "EngineCore encountered an issue")
_MOST_SHOWN = 400


def start(folder: Path, options: VllmOptions, log: EngineLog) -> Any:
    """vLLM's AsyncLLM, loaded: in a process of its own, which ends with it.

    Of vLLM's two interfaces this one streams, ends a request in the middle, and lets several models
    be in one program. Raises ConfigError for what vLLM cannot take, EngineError for a lack of
    memory, with the setting that would fit.
    """
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")  # it reports to its makers by default
    with log.used():
        try:
            from vllm import AsyncEngineArgs
            from vllm.v1.engine.async_llm import AsyncLLM

            _check_names(options, AsyncEngineArgs)
            arguments = AsyncEngineArgs(model=str(folder), **options.arguments)
            return AsyncLLM.from_engine_args(arguments)
        except ConfigError:
            raise
        except Exception as error:  # vLLM's, torch's and the model hub's own: anything may come
            said = f"{log.read()}\n{type(error).__name__}: {error}"
            raise why_not_started(options, said) from error


def _check_names(options: VllmOptions, arguments: Any) -> None:
    known = [field.name for field in fields(arguments)]
    for key in options.options:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else "see vLLM's engine arguments."
            raise ConfigError(f"{options.model}: vLLM has no option {key!r}; {hint}")


def why_not_started(options: VllmOptions, said: str) -> EngineError | ConfigError:
    """Why vLLM did not start, from what it and its processes said."""
    if found := _NO_ROOM.search(said):
        share = int(95 * float(found["free"]) / float(found["total"])) / 100
        return MemoryLackError(
            f"{options.model}: vLLM wants {found['needed']} GiB of memory, of {found['total']} GiB "
            f"{found['free']} are free; set gpu_memory_utilization = {share:.2f}, or end what else "
            "takes memory."
        )
    if found := _NO_CACHE.search(said):
        fits = f"context = {found['context']}" if found["context"] else "a smaller context"
        return MemoryLackError(
            f"{options.model}: the cache of one request of {options.context} tokens needs "
            f"{found['needed']} GiB, {found['free']} GiB are left for it; set {fits}, or a larger "
            "gpu_memory_utilization."
        )
    if "No available memory for the cache blocks" in said:
        return MemoryLackError(
            f"{options.model}: its weights leave no memory for a cache; set a larger "
            "gpu_memory_utilization, a larger tensor_parallel_size, or a quantization."
        )
    if found := _NO_GPU_MEMORY.search(said):
        return MemoryLackError(
            f"{options.model}: {found['needed']} more of GPU memory are needed, of "
            f"{found['total']} {found['free']} are free; set a larger tensor_parallel_size, a "
            "quantization or a smaller context."
        )
    return ConfigError(f"{options.model}: vLLM does not start: {last_error(said)}")


def last_error(said: str) -> str:
    """The last error that is no mere consequence of another."""
    errors = [text for _, text in _LAST_ERROR.findall(said) if not text.startswith(_CONSEQUENCES)]
    text = errors[-1] if errors else said.strip().splitlines()[-1]
    return " ".join(text.split())[:_MOST_SHOWN]
