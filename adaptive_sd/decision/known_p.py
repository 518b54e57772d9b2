"""The textbook rule on estimated chances, for ladders on which nothing was recorded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.calibration import fit_logistic, logit, sigmoid
from adaptive_sd.decision.policies import (
    Choice,
    Evidence,
    HeldDraft,
    Prospect,
    best_held,
    check_lam,
    choose,
)
from adaptive_sd.decision.stopping import optimal_stopping_rule
from adaptive_sd.errors import ConfigError

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PooledPrior:
    """Chances of success by model size alone, for ladders on which nothing was recorded.

    Before any draft logit p = base + base_size * log(size); given a draft of quality q by a
    model of size s, logit p = intercept + slope * logit q + size_slope * log(size / s).
    Sizes are in billions of parameters.
    """

    base: float = 0.0
    base_size: float = 0.6
    intercept: float = 0.0
    slope: float = 0.6
    size_slope: float = 0.6

    def chance(self, size: float) -> float:
        return float(sigmoid(self.base + self.base_size * np.log(size)))

    def chance_after(self, quality: float, size: float, larger: float) -> float:
        score = self.intercept + self.slope * logit(quality)
        return float(sigmoid(score + self.size_slope * np.log(larger / size)))


@dataclass(frozen=True, slots=True)
class KnownPPolicy:
    """The textbook rule with predicted chances taken as known, solved again after each draft.

    Stages may be skipped: with chances known, a stage that is not returned only costs.
    """

    prior: PooledPrior
    sizes: tuple[float, ...]  # billions of parameters
    costs: tuple[float, ...]  # expected cost of running each stage

    def __post_init__(self) -> None:
        if len(self.sizes) != len(self.costs) or not self.sizes or min(self.sizes) <= 0:
            raise ConfigError(f"sizes {self.sizes} and costs {self.costs} describe no ladder.")

    @property
    def recommended_lam(self) -> float:
        """Half as much again as makes a first draft of its expected quality escalate.

        Where no stage is expected to better such a draft, the dearest stage's cost.
        """
        size, *larger = self.sizes
        quality = self.prior.chance(size)
        prices = [
            cost / gain
            for other, cost in zip(larger, self.costs[1:], strict=True)
            if (gain := self.prior.chance_after(quality, size, other) - quality) > 0
        ]
        return 1.5 * min(prices) if prices else max(self.costs)

    def decide(self, evidence: Evidence, lam: float) -> Choice:
        check_lam(lam)
        if not evidence.held:
            going = [
                self._prospect(0.0, self.prior.chance(size), j, lam)
                for j, size in enumerate(self.sizes)
            ]
            return choose(evidence, (), None, tuple(going))
        held, last = best_held(evidence), evidence.held[-1]
        going = [
            self._prospect(held.quality, self._chance_after(last, j), j, lam)
            for j in range(last.stage + 1, len(self.sizes))
        ]
        stopping = Prospect.of(None, held.quality, 0.0, lam)
        qualities = tuple(h.quality for h in evidence.held)
        return choose(evidence, qualities, held.stage, (stopping, *going))

    def draft_costs(self, evidence: Evidence) -> dict[int, float]:
        """Expected cost of a draft of each stage that may run next."""
        first = evidence.held[-1].stage + 1 if evidence.held else 0
        return {stage: self.costs[stage] for stage in range(first, len(self.costs))}

    def _chance_after(self, last: HeldDraft, stage: int) -> float:
        return self.prior.chance_after(last.quality, self.sizes[last.stage], self.sizes[stage])

    def _prospect(self, held_quality: float, chance: float, stage: int, lam: float) -> Prospect:
        """Of running `stage` next and stopping, with the costs paid so far sunk."""
        cost = self.costs[stage]
        rule = optimal_stopping_rule((held_quality, chance), (0.0, cost), lam)
        return Prospect(stage, chance, cost, float(rule.J[1]))


def fit_pooled_prior(
    estimates: FloatArray, quality: FloatArray, sizes: tuple[float, ...]
) -> PooledPrior:
    """Two logistic regressions, pooled over prompts and stages.

    `estimates` and `quality` have shape (num_prompts, num_stages).
    """
    num_prompts, num_stages = quality.shape
    log_size = np.log(np.asarray(sizes))
    each = np.broadcast_to(log_size, quality.shape)
    base = _logistic(np.stack([np.ones(quality.size), each.ravel()], axis=1), quality.ravel())
    pairs = [(i, j) for i in range(num_stages) for j in range(i + 1, num_stages)]
    if not pairs:
        return PooledPrior(float(base[0]), float(base[1]))
    design = np.concatenate(
        [
            np.stack(
                [
                    np.ones(num_prompts),
                    logit(estimates[:, i]),
                    np.full(num_prompts, log_size[j] - log_size[i]),
                ],
                axis=1,
            )
            for i, j in pairs
        ]
    )
    after = _logistic(design, np.concatenate([quality[:, j] for _, j in pairs]))
    return PooledPrior(*(float(v) for v in (*base, *after)))


def _logistic(design: FloatArray, quality: FloatArray) -> FloatArray:
    """With a weak ridge, which keeps separable data finite."""
    num_weights = design.shape[1]
    precision = np.full(num_weights, 1e-2)
    return fit_logistic(design, quality, mean=np.zeros(num_weights), precision=precision)
