"""What a prompt loses: what everything minimises the expectation of."""

from __future__ import annotations

from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Floats = NDArray[np.floating]


@overload
def loss_of(cost: float, quality: float, lam: float) -> float: ...


@overload
def loss_of(cost: Floats | float, quality: Floats, lam: Floats | float) -> FloatArray: ...


def loss_of(cost: Any, quality: Any, lam: Any) -> Any:
    """cost + lam * (1 - quality), of one prompt, of means, or of arrays that broadcast.

    `lam`, the weight of quality, is in the unit of cost.
    """
    return cost + lam * (1 - quality)
