"""Cost-quality curves of the policies, with intervals over prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.calibration import Interval
from adaptive_sd.offline.replay.curve import Scale, heights_at
from adaptive_sd.offline.replay.dials import Dials
from adaptive_sd.offline.replay.field import OURS, Field
from adaptive_sd.offline.replay.measure import BASELINE, Prompts, all_means, interval

FloatArray = NDArray[np.float64]

_NUM_PLACES = 161
_WITH_BAND = (OURS, BASELINE)


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One policy: its points, and the curve whose mean height is its area.

    `low` and `high` are the curve's 95 % interval at each place; None where it is not drawn.
    """

    policy: str
    cost: FloatArray  # (num_dials,)
    quality: FloatArray
    places: FloatArray  # (num_places,), costs from the cheapest to the dearest single stage's
    heights: FloatArray
    low: FloatArray | None = None
    high: FloatArray | None = None


@dataclass(frozen=True, slots=True)
class SingleStage:
    """One stage alone, on the test half."""

    name: str
    cost: Interval
    quality: Interval


@dataclass(frozen=True, slots=True, eq=False)
class Frontier:
    curves: tuple[Curve, ...]
    stages: tuple[SingleStage, ...]


def make_frontier(field: Field, policies: Sequence[str], num_resamples: int) -> Frontier:
    curves = tuple(
        _curve(
            name,
            field.dials(name),
            field.prompts(num_resamples if name in _WITH_BAND else 0),
        )
        for name in policies
    )
    tested = field.prompts(num_resamples)
    cost, quality = (all_means(side.T, tested) for side in (tested.cost, tested.quality))
    stages = tuple(
        SingleStage(name, interval(cost[:, k]), interval(quality[:, k]))
        for k, name in enumerate(field.contest.halves.names)
    )
    return Frontier(curves, stages)


def _curve(name: str, dials: Dials, prompts: Prompts) -> Curve:
    """The hull is made anew in each resample, as for the area."""
    sides = (prompts.cost, prompts.quality, dials.cost, dials.quality)
    stage_cost, stage_quality, cost, quality = (all_means(side.T, prompts) for side in sides)
    scale = Scale.of(stage_cost[0], stage_quality[0])
    places = np.linspace(scale.cheapest_cost, scale.dearest_cost, _NUM_PLACES)
    heights = np.array(
        [
            heights_at(places, c, q, Scale.of(stage_c, stage_q))
            for stage_c, stage_q, c, q in zip(stage_cost, stage_quality, cost, quality, strict=True)
        ]
    )
    curve = (name, cost[0], quality[0], places, heights[0])
    if len(heights) == 1:
        return Curve(*curve)
    return Curve(*curve, *np.quantile(heights[1:], [0.025, 0.975], axis=0))
