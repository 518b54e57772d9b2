"""The curve through a policy's points of cost and quality, its area, and the cost of a target."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


class Scale(NamedTuple):
    """What curves are measured by: the single stages' mean costs and qualities."""

    cheapest_cost: float
    cheapest_quality: float
    dearest_cost: float
    best_quality: float
    best_cost: float

    @classmethod
    def of(cls, cost: FloatArray, quality: FloatArray) -> Self:
        """From the stages' means, shape (num_stages,) each; of equal stages the better one."""
        cheapest = int(np.lexsort((-quality, cost))[0])
        best = int(np.lexsort((cost, -quality))[0])
        return cls(
            cheapest_cost=float(cost[cheapest]),
            cheapest_quality=float(quality[cheapest]),
            dearest_cost=float(cost.max()),
            best_quality=float(quality[best]),
            best_cost=float(cost[best]),
        )


def upper_hull(cost: FloatArray, quality: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Corners of the upper concave hull up to its highest one, by ascending cost."""
    corners: list[tuple[float, float]] = []
    for place in np.lexsort((-quality, cost)):
        c, q = float(cost[place]), float(quality[place])
        if corners and q <= corners[-1][1]:
            continue  # under the curve, which is flat right of its highest point
        while len(corners) > 1 and _is_under(corners[-2], corners[-1], (c, q)):
            corners.pop()
        corners.append((c, q))
    hull = np.array(corners)
    return hull[:, 0], hull[:, 1]


def _is_under(
    left: tuple[float, float], middle: tuple[float, float], right: tuple[float, float]
) -> bool:
    rise, run = right[1] - left[1], right[0] - left[0]
    return (middle[1] - left[1]) * run <= rise * (middle[0] - left[0])


def area(cost: FloatArray, quality: FloatArray, scale: Scale) -> float:
    """Mean height of the curve between the cheapest and the dearest single stage's cost.

    Left of the policy's cheapest point the cheapest stage's quality counts.
    """
    low, high = scale.cheapest_cost, scale.dearest_cost
    corners, heights = upper_hull(cost, quality)
    first = float(corners[0])
    if high <= low:
        return float(np.interp(low, corners, heights)) if first <= low else scale.cheapest_quality
    left = min(max(first, low), high)
    between = corners[(corners > left) & (corners < high)]
    places = np.concatenate([[left], between, [high]])
    right = np.trapezoid(np.interp(places, corners, heights), places)
    return float((scale.cheapest_quality * (left - low) + right) / (high - low))


def heights_at(
    places: FloatArray, cost: FloatArray, quality: FloatArray, scale: Scale
) -> FloatArray:
    """Quality along the curve whose mean height is the `area`, shape (num_places,)."""
    corners, heights = upper_hull(cost, quality)
    reached = places >= corners[0]
    return np.where(reached, np.interp(places, corners, heights), scale.cheapest_quality)


def cost_at(share: float, cost: FloatArray, quality: FloatArray, scale: Scale) -> float | None:
    """The least cost among points with `share` of the best single stage's quality.

    As a share of that stage's cost; None where no point has it.
    """
    enough = quality >= share * scale.best_quality
    if not enough.any() or not scale.best_cost:
        return None
    return float(cost[enough].min()) / scale.best_cost
