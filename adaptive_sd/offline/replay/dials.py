"""What a policy brings about on recorded outcomes, for each setting of its dial."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.fit_table import FitTable

FloatArray = NDArray[np.float64]
Label = float | str

MAX_POINTS = 40
"""Settings of a dial that count: with many more, the best of them is luck."""


class Run(NamedTuple):
    """One setting, prompt by prompt."""

    quality: FloatArray  # (num_prompts,)
    cost: FloatArray
    escalated: FloatArray  # 1 where more than one stage ran; a chance where paths are drawn

    @property
    def mean(self) -> tuple[float, float]:
        """Cost and quality."""
        return float(self.cost.mean()), float(self.quality.mean())


@dataclass(frozen=True, slots=True, eq=False)
class Dials:
    """All settings of one policy: what they did to the test half, and were seen to do before.

    `fit_quality` and `fit_cost` are means on the fit half, by estimates out of fold; nan where
    they cannot be told.
    """

    labels: tuple[Label, ...]
    quality: FloatArray  # (num_prompts, num_dials)
    cost: FloatArray
    escalation_rate: FloatArray  # (num_dials,)
    fit_quality: FloatArray  # (num_dials,)
    fit_cost: FloatArray

    @classmethod
    def of(
        cls, labels: Sequence[Label], fit: Sequence[tuple[float, float]], test: Iterable[Run]
    ) -> Self:
        """`fit` has the mean cost and quality on the fit half; of `test` one run is held."""
        means = np.array(fit)
        quality = cost = np.empty((0, 0))
        escalation_rate = np.empty(len(labels))
        for place, run in enumerate(test):
            if not place:
                quality, cost = (np.empty((len(run.cost), len(labels)), order="F") for _ in "qc")
            quality[:, place], cost[:, place] = run.quality, run.cost
            escalation_rate[place] = run.escalated.mean()
        return cls(tuple(labels), quality, cost, escalation_rate, means[:, 1], means[:, 0])

    def untold(self) -> Dials:
        """The same settings, where nobody can tell what they do to prompts that chose nothing."""
        unknown = np.full(len(self.labels), np.nan)
        return replace(self, fit_quality=unknown, fit_cost=unknown)

    def plus(self, other: Dials) -> Dials:
        """These settings and then the other's."""
        return Dials(
            labels=self.labels + other.labels,
            quality=np.concatenate([self.quality, other.quality], axis=1),
            cost=np.concatenate([self.cost, other.cost], axis=1),
            escalation_rate=np.concatenate([self.escalation_rate, other.escalation_rate]),
            fit_quality=np.concatenate([self.fit_quality, other.fit_quality]),
            fit_cost=np.concatenate([self.fit_cost, other.fit_cost]),
        )


def run_single(table: FitTable, stage: int) -> Run:
    num_prompts = len(table.quality)
    return Run(table.quality[:, stage], table.cost[:, stage], np.zeros(num_prompts))


def single_stages(fit: FitTable, test: FitTable, names: Sequence[str]) -> Dials:
    """Always one stage, for each stage."""
    stages = range(test.num_stages)
    return Dials.of(
        names, [run_single(fit, k).mean for k in stages], [run_single(test, k) for k in stages]
    )
