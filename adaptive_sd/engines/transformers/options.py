"""How the weights of a checkpoint are held, and where; needs no torch."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

from adaptive_sd.errors import ConfigError

DTYPES = ("auto", "bf16", "fp16", "fp32")
QUANT_TYPES = ("nf4", "fp4")
_DEVICE_MAP = re.compile(r"auto|balanced|balanced_low_0|sequential|cpu|cuda(:\d+)?")


@dataclass(frozen=True, slots=True)
class TransformersOptions:
    """Weights in `dtype`, or of linear layers in 4 or 8 bits, computed with in `dtype`.

    "auto" is the checkpoint's own, beside weights in 4 bits bf16, in 8 bits fp16, the only one that
    these know. `device_map` is "cpu", "cuda", "cuda:1" or a way to spread layers over what is there
    ("auto", "balanced", "sequential"): on GPUs first.
    """

    dtype: str = "auto"
    load_in_4bit: bool = False
    load_in_8bit: bool = False
    bnb_4bit_quant_type: str = "nf4"
    bnb_4bit_use_double_quant: bool = True
    device_map: str = "auto"

    def check(self, where: str) -> None:
        """Raises ConfigError for values that cannot be."""
        for name, known in (("dtype", DTYPES), ("bnb_4bit_quant_type", QUANT_TYPES)):
            if (value := getattr(self, name)) not in known:
                raise ConfigError(f"{where}: {name} is {value!r}; write one of {', '.join(known)}.")
        if self.load_in_4bit and self.load_in_8bit:
            raise ConfigError(f"{where}: set load_in_4bit or load_in_8bit, not both.")
        if self.load_in_8bit and self.dtype not in ("auto", "fp16"):
            raise ConfigError(
                f"{where}: dtype is {self.dtype!r}, but weights in 8 bits are computed with in "
                "fp16; leave it out."
            )
        if not _DEVICE_MAP.fullmatch(self.device_map):
            raise ConfigError(
                f"{where}: device_map is {self.device_map!r}; write auto, cpu, cuda, cuda:N, "
                "balanced or sequential."
            )

    @property
    def is_quantised(self) -> bool:
        return self.load_in_4bit or self.load_in_8bit

    @property
    def weights(self) -> str:
        """All that answers depend on: "bf16", "nf4 double, bf16", "int8, fp16"."""
        if self.load_in_8bit:
            return "int8, fp16"
        if not self.load_in_4bit:
            return self.dtype
        dtype = "bf16" if self.dtype == "auto" else self.dtype
        return f"{self.bnb_4bit_quant_type}{' double' * self.bnb_4bit_use_double_quant}, {dtype}"


def check_installed(
    options: TransformersOptions,
    is_here: Callable[[str], bool] = lambda name: find_spec(name) is not None,
) -> None:
    """Raises ConfigError, naming the extra, where a library that is needed is not here."""
    needed = ["torch", "transformers", "accelerate"]
    needed += ["bitsandbytes"] * options.is_quantised
    missing = [name for name in needed if not is_here(name)]
    if missing:
        raise ConfigError(
            f'engine "transformers" needs {" and ".join(missing)}: pip install '
            '"adaptive-sd[transformers]".'
        )
