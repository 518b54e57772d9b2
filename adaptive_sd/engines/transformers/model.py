"""One checkpoint as transformers runs it: weights and vocabulary."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from adaptive_sd.engines.transformers.options import TransformersOptions
from adaptive_sd.engines.vocabulary import Vocabulary
from adaptive_sd.errors import DamagedModelError, EngineError

TORCH_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
_CACHE_NAMES = ("past_key_values", "cache", "cache_params")
"""As versions of transformers and architectures call it."""


class Checkpoint:
    """A folder of weights, or one GGUF file of it; nothing of either is run as code."""

    def __init__(self, path: Path) -> None:
        """A folder with config.json and safetensors, or a GGUF file."""
        is_file = path.is_file()
        self.path = path
        self._folder = str(path.parent if is_file else path)
        self._options: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
        if is_file:
            self._options["gguf_file"] = path.name
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()

    @property
    def is_gguf(self) -> bool:
        return "gguf_file" in self._options

    @functools.cached_property
    def config(self) -> Any:
        """Raises DamagedModelError."""
        return self._read(transformers.AutoConfig)

    @property
    def train_context(self) -> int:
        """Most tokens that the model was made for. Raises DamagedModelError."""
        text = self.config.get_text_config()
        return int(getattr(text, "max_position_embeddings", 0) or 1 << 20)

    def skeleton(self) -> Any:
        """The model without its weights. Raises DamagedModelError."""
        config = self.config

        def build() -> Any:
            with torch.device("meta"):
                return transformers.AutoModelForCausalLM.from_config(
                    config, trust_remote_code=False
                )

        return self._try(build)

    def tokenizer(self) -> Any:
        """Raises DamagedModelError."""
        return self._read(transformers.AutoTokenizer)

    def generation_config(self) -> Any:
        """None where there is none."""
        try:
            return transformers.GenerationConfig.from_pretrained(
                self._folder, local_files_only=True
            )
        except (OSError, ValueError):
            return None

    def weights(self, **options: Any) -> Any:
        """Raises DamagedModelError, and torch.OutOfMemoryError."""
        kind = transformers.AutoModelForCausalLM
        return self._read(kind, config=self.config, use_safetensors=True, **options)

    def _read(self, kind: Any, **options: Any) -> Any:
        return self._try(lambda: kind.from_pretrained(self._folder, **self._options, **options))

    def _try(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:  # foreign code on a foreign file: anything may come
            said = " ".join(str(error).split())[:300]
            raise DamagedModelError(
                f"{self.path}: transformers cannot load it ({type(error).__name__}: {said})."
            ) from error


class Model(Vocabulary):
    """Weights and vocabulary of one checkpoint."""

    def __init__(self, checkpoint: Checkpoint, options: TransformersOptions) -> None:
        """Raises DamagedModelError, EngineError, and torch.OutOfMemoryError."""
        config = checkpoint.config
        super().__init__(
            checkpoint.tokenizer(), _end_tokens(config, checkpoint.generation_config())
        )
        dtype = dtype_of(options, checkpoint)
        self._net = checkpoint.weights(
            dtype=dtype,
            device_map=device_map_of(options),
            quantization_config=quantisation(options, dtype, checkpoint),
        ).eval()
        text = self._net.config.get_text_config()
        self.config = text
        self.num_layers = int(text.num_hidden_layers)
        self.num_vocab = int(text.vocab_size)
        self.hidden_width = int(text.hidden_size)
        self.num_parameters = int(self._net.num_parameters())
        known = inspect.signature(self._net.forward).parameters
        self._keeps_rows = "logits_to_keep" in known
        cache_name = next((name for name in _CACHE_NAMES if name in known), None)
        if cache_name is None:
            raise EngineError(f"{type(self._net).__name__} has no cache that can be kept.")
        self._cache_name = cache_name

    @property
    def device(self) -> Any:
        """Where tokens go in."""
        return self._net.device

    def attends_to_all(self, size: int) -> bool:
        """Whether every layer looks at all of at most `size` tokens before, as far as it says."""
        if getattr(self._net, "_is_stateful", False) or _turns_by_length(self.config, size):
            return False
        window = getattr(self.config, "sliding_window", None)
        fits = window is None or window >= size
        kinds = getattr(self.config, "layer_types", None)
        if kinds is None:
            return fits
        return set(kinds) <= {"full_attention"} | ({"sliding_attention"} if fits else set())

    def logits_of(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """After each of `tokens`, by a pass without a cache; shape (tokens, vocabulary)."""
        with torch.inference_mode():
            return _numbers(self._net(input_ids=self._row(tokens), use_cache=False).logits[0])

    def forward(
        self,
        tokens: Sequence[int],
        positions: Sequence[int],
        cache: Any,
        seen: Any,
        *,
        rows: Sequence[int],
        hidden: Sequence[int],
    ) -> tuple[NDArray[np.float32], NDArray[np.float16]]:
        """One pass that extends `cache`.

        `seen` says which cells each token sees, shape (1, 1, tokens, cells); None is causal.
        Gives the logits after the tokens at `rows`, shape (rows, vocabulary), and the last layer's
        hidden states at those at `hidden`, shape (hidden, width).
        """
        keep = list(rows) or [len(tokens) - 1]  # no kernel need know of no rows
        options = {"logits_to_keep": torch.tensor(keep)} if self._keeps_rows else {}
        with torch.inference_mode():
            found = self._net(
                input_ids=self._row(tokens),
                position_ids=self._row(positions),
                attention_mask=None if seen is None else self._mask(seen),
                use_cache=True,
                output_hidden_states=bool(hidden),
                **{self._cache_name: cache},
                **options,
            )
            logits = found.logits[0] if self._keeps_rows else found.logits[0, keep]
            states = (
                _numbers(found.hidden_states[-1][0, list(hidden)]).astype(np.float16)
                if hidden
                else np.empty((0, self.hidden_width), np.float16)
            )
            return _numbers(logits)[: len(rows)], states

    def _row(self, numbers: Sequence[int]) -> Any:
        return torch.tensor([list(numbers)], device=self.device)

    def _mask(self, seen: Any) -> Any:
        """Added to scores: every implementation of attention takes that."""
        dtype = self._net.dtype
        mask = torch.zeros(seen.shape, dtype=dtype)
        return mask.masked_fill(~seen, torch.finfo(dtype).min).to(self.device)

    def close(self) -> None:
        """Free the weights; a second close does nothing."""
        self._net = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _turns_by_length(config: Any, size: int) -> bool:
    """Whether a pass with one of `size` positions turns the keys of all its tokens otherwise.

    Then a token's numbers depend on what else is in its pass.
    """
    told = getattr(config, "rope_parameters", None) or {}
    by_layers = [told, *(each for each in told.values() if isinstance(each, dict))]
    most = getattr(config, "max_position_embeddings", None) or size
    return any(
        (kind == "longrope" and size > each.get("original_max_position_embeddings", most))
        or (kind == "dynamic" and size > most)
        for each in by_layers
        if (kind := each.get("rope_type"))
    )


def dtype_of(options: TransformersOptions, checkpoint: Checkpoint) -> Any:
    """What is computed in; "auto" is left to the checkpoint where it has a dtype of its own."""
    if options.dtype != "auto":
        return TORCH_DTYPES[options.dtype]
    if options.is_quantised:
        return torch.float16 if options.load_in_8bit else torch.bfloat16
    if not checkpoint.is_gguf:
        return "auto"
    return torch.bfloat16 if torch.cuda.is_available() else torch.float32


def device_map_of(options: TransformersOptions) -> str:
    """ "auto" without a GPU is the CPU: nothing is to be spread."""
    return options.device_map if torch.cuda.is_available() else "cpu"


def quantisation(options: TransformersOptions, dtype: Any, checkpoint: Checkpoint) -> Any:
    """As transformers takes it; None for weights as they are."""
    if checkpoint.is_gguf:
        return transformers.GgufConfig(dequantize=True)
    if not options.is_quantised:
        return None
    return transformers.BitsAndBytesConfig(
        load_in_4bit=options.load_in_4bit,
        load_in_8bit=options.load_in_8bit,
        bnb_4bit_quant_type=options.bnb_4bit_quant_type,
        bnb_4bit_use_double_quant=options.bnb_4bit_use_double_quant,
        bnb_4bit_compute_dtype=dtype,
    )


def _end_tokens(config: Any, generation: Any) -> frozenset[int]:
    """All that the checkpoint says end a turn."""
    ends: set[int] = set()
    for said in (config.get_text_config(), generation):
        found = getattr(said, "eos_token_id", None)
        ends |= set(found) if isinstance(found, list) else set() if found is None else {found}
    return frozenset(ends)


def _numbers(tensor: Any) -> NDArray[np.float32]:
    numbers: NDArray[np.float32] = tensor.float().cpu().numpy()
    return numbers


def set_threads(count: int) -> None:
    """Of this thread's passes on the CPU."""
    if count != torch.get_num_threads():
        torch.set_num_threads(count)


def num_cores() -> int:
    return len(os.sched_getaffinity(0))
