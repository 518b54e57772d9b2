"""The textbook stopping rule: chances of success known, costs added up, no recall."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adaptive_sd.decision.loss import loss_of
from adaptive_sd.errors import AdaptiveSDError


class InvalidProblemError(AdaptiveSDError, ValueError):
    """The numbers given describe no stopping problem."""


class StoppingRule(NamedTuple):
    """Stop at stage `k_star`; `J[k]` is the expected loss of stopping at stage k."""

    k_star: int
    J: NDArray[np.float64]


def optimal_stopping_rule(p: ArrayLike, C: ArrayLike, lam: float) -> StoppingRule:
    """Return the stage at which to stop: the first that minimises the expected loss.

    `p[k]` is the chance that stage k's answer is right, `C[k]` the cost of running it and `lam`
    the weight of quality: J[k] = C[0] + ... + C[k] + lam * (1 - p[k]). The rule is solved
    backwards, V[k] = min(lam * (1 - p[k]), C[k+1] + V[k+1]), in O(L) for L stages.
    Raises InvalidProblemError (a ValueError) naming the index and the value.
    """
    chance, cost = _vector(p, "p"), _vector(C, "C")
    if len(chance) != len(cost):
        raise InvalidProblemError(
            f"p has {len(chance)} values and C has {len(cost)}; give one of each for every stage."
        )
    try:
        weight = float(lam)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidProblemError(f"lam is {lam!r}; it must be a number.") from error
    if not 0 <= weight < np.inf:
        raise InvalidProblemError(f"lam is {lam}; it must be finite and at least 0.")
    _check(chance, (chance >= 0) & (chance <= 1), "p", "between 0 and 1")
    _check(cost, (cost >= 0) & (cost < np.inf), "C", "finite and at least 0")
    with np.errstate(over="ignore"):  # costs near the largest number add up to infinity
        loss = loss_of(np.cumsum(cost), chance, weight)
    # V[k] plus the cost sunk up to k, which shifts both sides of the minimum alike.
    value = np.minimum.accumulate(loss[::-1])[::-1]
    return StoppingRule(int(np.argmax(loss <= value)), loss)


def _vector(values: ArrayLike, name: str) -> NDArray[np.float64]:
    try:
        vector = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidProblemError(f"{name} is not a list of numbers ({error}).") from error
    if vector.ndim != 1 or not len(vector):
        raise InvalidProblemError(
            f"{name} has shape {vector.shape}; give a list with one number for every stage."
        )
    return vector


def _check(values: NDArray[np.float64], valid: NDArray[np.bool_], name: str, rule: str) -> None:
    if not valid.all():
        index = int(np.argmin(valid))
        raise InvalidProblemError(f"{name}[{index}] is {values[index]}; it must be {rule}.")
