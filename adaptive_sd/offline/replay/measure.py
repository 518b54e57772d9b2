"""What is reported of a policy: area, costs of targets, points; with intervals over prompts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.calibration import Interval
from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.offline.replay.curve import Scale, area, cost_at
from adaptive_sd.offline.replay.dials import Dials, Label

FloatArray = NDArray[np.float64]

SHARES = (0.95, 0.98, 1.0)
SHARE_CHOSEN = 0.98
BASELINE = "best_pair"


class Point(NamedTuple):
    """One setting on the test half; `escalation_rate`: share with more than one stage run."""

    dial: Label
    cost: float
    quality: float
    escalation_rate: float


class Chosen(NamedTuple):
    """The setting chosen before the test: what it then cost and was worth.

    As shares of the best single stage's.
    """

    dial: Label
    cost: float
    quality: float


@dataclass(frozen=True, slots=True)
class PolicyReport:
    """`costs_at` has the least cost for each of SHARES; `gain` is of area over BASELINE."""

    area: Interval
    costs_at: tuple[float | None, ...]
    chosen: Chosen | None
    points: tuple[Point, ...]
    gain: Interval | None


MAX_GROUPS = 10_000
"""More texts than these are resampled in random groups: their means vary just as much."""


class Prompts(NamedTuple):
    """Prompts that policies are measured on, and the weight of each in each resample.

    Of up to MAX_GROUPS texts each is a group of its own: prompts of equal text are drawn together.
    """

    quality: FloatArray  # (num_prompts, num_stages)
    cost: FloatArray
    group: NDArray[np.int64]  # (num_prompts,)
    weights: FloatArray  # (num_resamples, num_groups), of every prompt of a group


def draw(table: FitTable, num_resamples: int, *, rng: np.random.Generator) -> Prompts:
    text = np.arange(len(table.quality)) if table.group is None else table.group
    _, text = np.unique(text, return_inverse=True)
    num_texts = int(text.max()) + 1
    num_groups = min(num_texts, MAX_GROUPS)
    of_text = np.arange(num_texts) % num_groups
    if num_texts > num_groups:
        of_text = rng.permutation(of_text)
    group = of_text[text]
    drawn = [
        np.bincount(rng.integers(0, num_groups, num_groups), minlength=num_groups)
        for _ in range(num_resamples)
    ]
    times = np.array(drawn).reshape(-1, num_groups)
    num_drawn = times @ np.bincount(group)
    return Prompts(table.quality, table.cost, group, times / num_drawn[:, None])


def means(values: FloatArray) -> FloatArray:
    """Of each column; the same numbers have the same mean, whatever stands beside them."""
    return np.array([column.mean() for column in values.T])


def all_means(columns: Iterable[FloatArray], prompts: Prompts) -> FloatArray:
    """Of each column as it is, then in each resample: shape (1 + num_resamples, num_columns)."""
    num_groups = prompts.weights.shape[1]
    whole, sums = [], []
    for column in columns:
        whole.append(column.mean())
        sums.append(np.bincount(prompts.group, column, num_groups))
    return np.vstack([whole, prompts.weights @ np.stack(sums, axis=1)])


def areas(dials: Dials, prompts: Prompts) -> FloatArray:
    """The area on the prompts as they are, then in each resample: the hull is made anew."""
    sides = (prompts.cost, prompts.quality, dials.cost, dials.quality)
    found = [all_means(side.T, prompts) for side in sides]
    return np.array(
        [area(cost, quality, Scale.of(c, q)) for c, q, cost, quality in zip(*found, strict=True)]
    )


def interval(values: FloatArray) -> Interval:
    """The first value, with the 95 % interval of the others; itself where there are none."""
    drawn = values[1:] if len(values) > 1 else values
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(float(values[0]), float(low), float(high))


def make_report(
    dials: Dials, prompts: Prompts, fit: FitTable, gain: Interval | None, found: FloatArray
) -> PolicyReport:
    """`found` are the areas; `fit` is the table on which the setting for 98 % is chosen."""
    cost, quality = means(dials.cost), means(dials.quality)
    scale = Scale.of(means(prompts.cost), means(prompts.quality))
    place = _chosen(dials, Scale.of(means(fit.cost), means(fit.quality)))
    return PolicyReport(
        area=interval(found),
        costs_at=tuple(cost_at(share, cost, quality, scale) for share in SHARES),
        chosen=None
        if place is None or not scale.best_cost or not scale.best_quality
        else Chosen(
            dials.labels[place],
            float(cost[place]) / scale.best_cost,
            float(quality[place]) / scale.best_quality,
        ),
        points=tuple(
            Point(label, float(c), float(q), float(e))
            for label, c, q, e in zip(
                dials.labels, cost, quality, dials.escalation_rate, strict=True
            )
        ),
        gain=gain,
    )


def _chosen(dials: Dials, scale: Scale) -> int | None:
    enough = dials.fit_quality >= SHARE_CHOSEN * scale.best_quality
    if not enough.any():
        return None
    return int(np.where(enough, dials.fit_cost, np.inf).argmin())
