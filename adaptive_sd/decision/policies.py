"""What a policy sees and says, and the policies that need no fit over outcomes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.calibration import logit, sigmoid
from adaptive_sd.decision.stopping import optimal_stopping_rule
from adaptive_sd.errors import ConfigError
from adaptive_sd.types import Decision

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class HeldDraft:
    """A draft that could be returned; `answer` is canonical, "" when there is none."""

    stage: int
    quality: float
    features: NDArray[np.float32]  # (256,)
    answer: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What a policy sees: the prompt and the drafts so far, by ascending stage."""

    features: NDArray[np.float32]  # (num_prompt_features,)
    held: tuple[HeldDraft, ...] = ()


class Choice(NamedTuple):
    """ESCALATE: `stage` runs next. STOP: the draft of `stage` is returned.

    Values are expected losses from here on: of stopping, and of going on with each larger stage.
    """

    decision: Decision
    stage: int
    value_stop: float
    values_go: tuple[tuple[int, float], ...]
    reason: str


class StoppingPolicy(Protocol):
    """Decides before the first draft and after each; `lam` is the weight of quality."""

    def decide(self, evidence: Evidence, lam: float) -> Choice: ...


def choose(
    returned: int | None,
    quality: float,
    value_stop: float,
    values_go: tuple[tuple[int, float], ...],
) -> Choice:
    """The least expected loss; ties stop, and go on to the smaller stage."""
    best = min(values_go, key=lambda pair: pair[1], default=None)
    if best is None or (returned is not None and value_stop <= best[1]):
        assert returned is not None  # with nothing held every stage can still run
        other = f"; running stage {best[0]} {best[1]:.3g}" if best else "; no stage is left"
        reason = (
            f"stage {returned} is right with chance {quality:.2f}: "
            f"stopping loses {value_stop:.3g}{other}"
        )
        return Choice(Decision.STOP, returned, value_stop, values_go, reason)
    stopping = f"; stopping {value_stop:.3g}" if returned is not None else ""
    reason = f"running stage {best[0]} is expected to lose {best[1]:.3g}{stopping}"
    return Choice(Decision.ESCALATE, best[0], value_stop, values_go, reason)


def best_held(evidence: Evidence) -> HeldDraft:
    """The draft of the highest estimated quality; ties to the later stage."""
    return max(evidence.held, key=lambda held: (held.quality, held.stage))


def check_lam(lam: float) -> None:
    if not 0 <= lam < np.inf:
        raise ConfigError(f"lambda is {lam}; it must be finite and at least 0.")


@dataclass(frozen=True, slots=True)
class FixedPolicy:
    """Always one stage."""

    stage: int

    def decide(self, evidence: Evidence, lam: float) -> Choice:
        check_lam(lam)
        if not evidence.held:
            reason = f"always stage {self.stage}"
            return Choice(Decision.ESCALATE, self.stage, float("inf"), (), reason)
        held = evidence.held[-1]
        loss = lam * (1 - held.quality)
        return Choice(Decision.STOP, held.stage, loss, (), f"always stage {self.stage}")


@dataclass(frozen=True, slots=True)
class ThresholdPolicy:
    """A chain of stages: stop at the first draft whose quality reaches its stage's threshold.

    Has one threshold fewer than stages, since the last one always stops; no recall.
    """

    stages: tuple[int, ...]
    thresholds: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.thresholds) != len(self.stages) - 1:
            raise ConfigError(
                f"{len(self.stages)} stages take {len(self.stages) - 1} thresholds, "
                f"not {len(self.thresholds)}."
            )

    def decide(self, evidence: Evidence, lam: float) -> Choice:
        check_lam(lam)
        if not evidence.held:
            first = self.stages[0]
            return Choice(Decision.ESCALATE, first, float("inf"), (), f"begins at stage {first}")
        held = evidence.held[-1]
        place = self.stages.index(held.stage)
        loss = lam * (1 - held.quality)
        if held.stage == self.stages[-1]:
            return Choice(Decision.STOP, held.stage, loss, (), "no stage is left")
        threshold = self.thresholds[place]
        compared = f"quality {held.quality:.2f} against threshold {threshold:.2f}"
        if held.quality >= threshold:
            return Choice(Decision.STOP, held.stage, loss, (), compared)
        return Choice(Decision.ESCALATE, self.stages[place + 1], loss, (), compared)


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

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        values = (self.base, self.base_size, self.intercept, self.slope, self.size_slope)
        return {"prior": np.array(values)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.generic]]) -> Self:
        return cls(*(float(v) for v in arrays["prior"].astype(np.float64)))


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
        """The largest lambda at which the first stage still comes first."""
        p = [self.prior.chance(size) for size in self.sizes]
        ratios = [
            (self.costs[j] - self.costs[0]) / (p[j] - p[0])
            for j in range(1, len(p))
            if p[j] > p[0] and self.costs[j] > self.costs[0]
        ]
        return min(ratios, default=self.costs[0])

    def decide(self, evidence: Evidence, lam: float) -> Choice:
        check_lam(lam)
        if not evidence.held:
            values = tuple(
                (j, self._loss(0.0, self.prior.chance(size), j, lam))
                for j, size in enumerate(self.sizes)
            )
            return choose(None, 0.0, float("inf"), values)
        held, last = best_held(evidence), evidence.held[-1]
        values = tuple(
            (j, self._loss(held.quality, self._chance_after(last, j), j, lam))
            for j in range(last.stage + 1, len(self.sizes))
        )
        return choose(held.stage, held.quality, lam * (1 - held.quality), values)

    def _chance_after(self, last: HeldDraft, stage: int) -> float:
        return self.prior.chance_after(last.quality, self.sizes[last.stage], self.sizes[stage])

    def _loss(self, held_quality: float, chance: float, stage: int, lam: float) -> float:
        """Loss of running `stage` next, with the costs paid so far sunk."""
        rule = optimal_stopping_rule((held_quality, chance), (0.0, self.costs[stage]), lam)
        return float(rule.J[1])


def fit_pooled_prior(
    estimates: FloatArray, quality: FloatArray, sizes: tuple[float, ...]
) -> PooledPrior:
    """Least squares on log odds' gradient: two logistic fits, pooled over prompts and stages.

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
    """Newton's method with a weak ridge, which keeps separable data finite."""
    beta = np.zeros(design.shape[1])
    for _ in range(50):
        p = sigmoid(design @ beta)
        gradient = design.T @ (p - quality) + 1e-2 * beta
        hessian = (design.T * (p * (1 - p))) @ design + 1e-2 * np.eye(len(beta))
        step = np.linalg.solve(hessian, gradient)
        beta = beta - step * min(1.0, 2.0 / max(np.abs(step).max(), 1e-12))
    return beta
