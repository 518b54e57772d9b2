"""The engine of checkpoints of the model hub: transformers on PyTorch, on CPUs and GPUs."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers

from adaptive_sd.engines.chat import ChatFormat
from adaptive_sd.engines.local import Loaded, LocalEngine
from adaptive_sd.engines.transformers.context import open_context
from adaptive_sd.engines.transformers.model import Checkpoint, Model, num_cores, set_threads
from adaptive_sd.engines.transformers.needs import Setting, check_memory, lack
from adaptive_sd.engines.transformers.options import TransformersOptions
from adaptive_sd.errors import ConfigError

MAX_SLOTS = 64
"""As many rows of logits as a pass has at most."""


class TransformersEngine(LocalEngine):
    """Runs one checkpoint on this machine."""

    def __init__(
        self,
        path: Path,
        options: TransformersOptions,
        *,
        name: str,
        model_hash: str,
        context: int = 4096,
        threads: int | None = None,
        slots: int = 1,
        max_waiting: int = 64,
    ) -> None:
        """Load the folder or GGUF file at `path`, with room for `context` tokens in each slot.

        Raises MemoryLackError, DamagedModelError, EngineError or ConfigError (slots, devices).
        """
        options.check(name)
        if not 1 <= slots <= MAX_SLOTS:
            raise ConfigError(f"slots is {slots}; it must be 1 to {MAX_SLOTS}.")
        num_threads = threads or num_cores()

        def load() -> Loaded:
            set_threads(num_threads)
            checkpoint = Checkpoint(path)
            size = min(context, checkpoint.train_context)
            setting = Setting(options, size, slots)
            check_memory(checkpoint, setting, name)
            try:
                model = Model(checkpoint, options)
                return Loaded(
                    model, ChatFormat(model), open_context(model, size=size, num_slots=slots)
                )
            except (torch.OutOfMemoryError, MemoryError) as error:
                raise lack(checkpoint, setting, name) from error

        on_gpu = options.device_map != "cpu" and torch.cuda.is_available()
        super().__init__(
            load,
            engine="transformers",
            engine_version=transformers.__version__,
            name=name,
            model_hash=model_hash,
            num_threads=0 if on_gpu else num_threads,
            max_waiting=max_waiting,
        )
