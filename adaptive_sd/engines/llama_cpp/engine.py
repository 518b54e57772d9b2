"""The embedded engine: GGUF models with llama.cpp."""

from __future__ import annotations

import os
from pathlib import Path

import llama_cpp

from adaptive_sd.engines.chat import ChatFormat
from adaptive_sd.engines.llama_cpp.context import MAX_SLOTS, Context
from adaptive_sd.engines.llama_cpp.model import Model
from adaptive_sd.engines.local import Loaded, LocalEngine
from adaptive_sd.engines.states import StateStore
from adaptive_sd.errors import ConfigError, EngineError


class LlamaCppEngine(LocalEngine):
    """Runs one GGUF model on this machine."""

    def __init__(
        self,
        path: Path,
        *,
        name: str,
        model_hash: str,
        context: int = 4096,
        threads: int | None = None,
        gpu_layers: int = 0,
        slots: int = 1,
        max_waiting: int = 64,
        states: StateStore | None = None,
    ) -> None:
        """Load the model, with room for `context` tokens in each slot.

        Worked examples that it has read are kept in `states`.

        Raises DamagedModelError, EngineError (memory) or ConfigError (slots).
        """
        if not 1 <= slots <= MAX_SLOTS:
            raise ConfigError(f"slots is {slots}; it must be 1 to {MAX_SLOTS}.")
        num_threads = threads or len(os.sched_getaffinity(0))

        def load() -> Loaded:
            model = Model(path, num_gpu_layers=gpu_layers)
            try:
                chat = ChatFormat(model)
                size = min(context, model.train_context)
                cache = Context(model, size=size, num_threads=num_threads, num_slots=slots)
            except EngineError:
                model.close()
                raise
            return Loaded(model, chat, cache)

        super().__init__(
            load,
            engine="llama_cpp",
            engine_version=llama_cpp.__version__,
            name=name,
            model_hash=model_hash,
            num_threads=0 if gpu_layers else num_threads,
            max_waiting=max_waiting,
            states=states,
        )
