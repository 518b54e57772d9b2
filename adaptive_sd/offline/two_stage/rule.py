"""The stopping rule on two measured stages: what a cascade of them does at each lambda."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.artifact import Prior
from adaptive_sd.decision.features import PromptView
from adaptive_sd.decision.known_p import KnownPPolicy
from adaptive_sd.decision.policies import Evidence
from adaptive_sd.errors import DataError
from adaptive_sd.forms import detect_form
from adaptive_sd.judge import PriorJudge
from adaptive_sd.offline.two_stage.measure import Attempt, Measured
from adaptive_sd.types import Decision

FloatArray = NDArray[np.float64]

SWEEP = tuple(i * i / 4 for i in range(21))
"""Lambdas from 0 to 100, closer together where they are small."""


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """What each sample got; arrays of shape (num_samples,), costs in model 1's mean cost."""

    escalated: NDArray[np.bool_]
    quality: FloatArray
    cost: FloatArray
    latency_s: FloatArray

    @property
    def early_stop_rate(self) -> float:
        return float(np.mean(~self.escalated))

    @property
    def escalation_rate(self) -> float:
        return float(np.mean(self.escalated))


class TwoStageRule:
    """Model 1 always drafts; the rule says whether model 2 goes on. No recall: as in the guide.

    Chances come from `prior`; costs are relative to model 1's mean, and model 2 is expected to
    cost its mean when verifying.
    """

    def __init__(self, measured: Measured, prior: Prior) -> None:
        """Raises DataError when model 1 costs nothing."""
        self.measured = measured
        samples = measured.samples
        self.model1 = [s.model1 for s in samples]
        self.model2 = [s.model2 for s in samples]
        self.verified = [s.verified for s in samples]
        self.unit_s = float(_costs(self.model1).mean())
        if self.unit_s <= 0:
            raise DataError(f"model {measured.models[0].name!r} costs nothing at its rates.")
        relative = float(_costs(self.verified).mean()) / self.unit_s
        sizes = tuple(model.info.num_parameters / 1e9 for model in measured.models)
        self.policy = KnownPPolicy(prior.chances, sizes, (1.0, relative))
        judge = PriorJudge(prior, sizes, lambda index: measured.models[index].rates)
        self._evidence = [_evidence(judge, s.task.prompt, s.model1) for s in samples]
        self.estimates = np.array([e.held[0].quality for e in self._evidence])
        self.chances = np.array([prior.chances.chance_after(q, *sizes) for q in self.estimates])

    @property
    def relative_cost(self) -> float:
        """Of model 2 when it verifies: what lambda times the gain in quality has to exceed."""
        return self.policy.costs[1]

    def at(self, lam: float) -> Outcomes:
        """The cascade's outcomes at one lambda; an escalated sample pays for both models."""
        decisions = [self.policy.decide(evidence, lam).decision for evidence in self._evidence]
        escalated = np.array([decision is Decision.ESCALATE for decision in decisions])
        first, second = self.always_first(), self._outcomes(self.verified)
        return Outcomes(
            escalated,
            np.where(escalated, second.quality, first.quality),
            first.cost + np.where(escalated, second.cost, 0.0),
            first.latency_s + np.where(escalated, second.latency_s, 0.0),
        )

    def always_first(self) -> Outcomes:
        return self._outcomes(self.model1)

    def always_second(self) -> Outcomes:
        """Model 2 alone, without a draft."""
        outcomes = self._outcomes(self.model2)
        return replace(outcomes, escalated=np.ones_like(outcomes.escalated))

    def sweep(self, lams: Sequence[float] = SWEEP) -> list[tuple[float, Outcomes]]:
        return [(lam, self.at(lam)) for lam in lams]

    def _outcomes(self, attempts: Sequence[Attempt]) -> Outcomes:
        return Outcomes(
            escalated=np.zeros(len(attempts), dtype=np.bool_),
            quality=np.array([a.quality for a in attempts]),
            cost=_costs(attempts) / self.unit_s,
            latency_s=np.array([a.draft.latency_s for a in attempts]),
        )


def _costs(attempts: Sequence[Attempt]) -> FloatArray:
    return np.array([a.cost_s for a in attempts])


def _evidence(judge: PriorJudge, prompt: str, attempt: Attempt) -> Evidence:
    view = PromptView.of(prompt, detect_form(prompt))
    return replace(judge.begin(view), held=(judge.judge(view, 0, attempt.draft),))
