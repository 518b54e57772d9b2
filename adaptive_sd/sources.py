"""Where a stage's engine comes from: a file or folder on this machine, or an endpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable
from importlib.metadata import version
from typing import NamedTuple

from adaptive_sd.engines.base import Engine
from adaptive_sd.engines.openai.options import EndpointOptions
from adaptive_sd.engines.openai.options import model_hash as endpoint_hash
from adaptive_sd.engines.transformers.options import TransformersOptions, check_installed
from adaptive_sd.models.folders import resolve_checkpoint
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
        )

    engine = f"llama_cpp {version('llama-cpp-python')}"
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
        endpoint_hash(options.model),
        num_parameters,
        rates,
    )
