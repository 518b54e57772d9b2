"""One replica of a stage: how many requests it serves at once, and how long each then takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.errors import ConfigError
from adaptive_sd.types import Rates

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Replica:
    """It serves `slots` requests in one batch on `gpus` GPUs for `usd` dollars an hour.

    `rates` are a token's on one idle device; with `is_price` a token takes as much of the device
    whatever is served beside it. Raises ConfigError for values that cannot be.
    """

    name: str
    rates: Rates
    slots: int = 1
    gpus: int = 1
    usd: float | None = None
    is_price: bool = False

    def __post_init__(self) -> None:
        for what, value in (("slots", self.slots), ("gpus", self.gpus)):
            if value < 1:
                raise ConfigError(f"{what} of {self.name!r} is {value}; it must be at least 1.")
        if self.usd is not None and not 0 <= self.usd < float("inf"):
            raise ConfigError(f"usd of {self.name!r} is {self.usd}; write dollars an hour.")

    def service_s(self, work_s: FloatArray, tokens_out: FloatArray) -> FloatArray:
        """How long requests of so much work have a slot while the others are taken too.

        Reading is done for one request after the other. Decoding shares its passes: one over all
        slots takes `rates.pass_s(slots)`. Where a token has a price in device seconds they are
        shared out alike; dollars tell no seconds, and then a slot takes what it took.
        """
        if self.rates.unit == "usd":
            return work_s
        if self.is_price:
            return work_s * (self.slots / self.gpus)
        decode_s = np.minimum(work_s, tokens_out * self.rates.decode_s)
        slower = self.rates.pass_s(self.slots) / self.rates.decode_s
        return (work_s - decode_s) * self.slots + decode_s * slower
