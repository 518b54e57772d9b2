"""How a model is run with vLLM: what has a key of its own, and the rest passed on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from adaptive_sd.errors import ConfigError

_OWN_KEYS = {
    "model": "model",
    "max_model_len": "context",
    "tensor_parallel_size": "tensor_parallel_size",
    "quantization": "quantization",
    "dtype": "dtype",
    "gpu_memory_utilization": "gpu_memory_utilization",
}
"""Arguments of vLLM's that a stage has keys for."""

_REFUSED = {
    "speculative_config": "drafts are verified by log-probabilities that are wrong where it is set",
    "skip_tokenizer_init": "answers need the model's tokenizer",
    "tokenizer": "answers need the model's own tokenizer",
    "hf_config_path": "a model is run by its own config.json",
    **dict.fromkeys(
        (
            "trust_remote_code",
            "worker_cls",
            "worker_extension_cls",
            "scheduler_cls",
            "model_class_overrides",
            "logits_processors",
        ),
        "no program of a checkpoint's, nor one that is named here, is run",
    ),
}
_LOAD_FORMATS = ("auto", "safetensors")
"""Of weights that are no programs."""


@dataclass(frozen=True, slots=True)
class VllmOptions:
    """A folder or hub id of Hugging Face's layout, with at most `context` tokens a request.

    Where `quantization` and `gpu_memory_utilization` (a share of each device) are None vLLM
    decides. `options` are further arguments of its engine, by their own names.
    """

    model: str
    context: int = 4096
    tensor_parallel_size: int = 1
    quantization: str | None = None
    dtype: str = "auto"
    gpu_memory_utilization: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def check(self, where: str) -> None:
        """Raises ConfigError for values that cannot be."""
        if self.tensor_parallel_size < 1:
            raise ConfigError(
                f"{where}: tensor_parallel_size is {self.tensor_parallel_size}; it must be at "
                "least 1."
            )
        share = self.gpu_memory_utilization
        if share is not None and not 0 < share <= 1:
            raise ConfigError(f"{where}: gpu_memory_utilization is {share}; it must be in (0, 1].")
        for key in self.options:
            if key in _OWN_KEYS:
                raise ConfigError(
                    f"{where}: options has {key!r}; write it as the stage's {_OWN_KEYS[key]}."
                )
            if key in _REFUSED:
                raise ConfigError(
                    f"{where}: options has {key!r}, but {_REFUSED[key]}; leave it out."
                )
        load_format = self.options.get("load_format", "auto")
        if load_format not in _LOAD_FORMATS:
            raise ConfigError(
                f"{where}: options has load_format {load_format!r}; write one of "
                f"{', '.join(_LOAD_FORMATS)}: no other weights are loaded."
            )

    @property
    def arguments(self) -> dict[str, Any]:
        """Those of vLLM's engine, but for the model."""
        given = {
            "quantization": self.quantization,
            "gpu_memory_utilization": self.gpu_memory_utilization,
        }
        return {
            "enable_prefix_caching": True,
            "use_tqdm_on_load": False,
            "disable_log_stats": True,
            **self.options,
            "max_model_len": self.context,
            "tensor_parallel_size": self.tensor_parallel_size,
            "dtype": self.dtype,
            **{key: value for key, value in given.items() if value is not None},
        }
