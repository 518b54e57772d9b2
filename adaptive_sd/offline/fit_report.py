"""What a fit found, in numbers and in words; everything out of fold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.calibration import Interval
from adaptive_sd.decision.loss import loss_of
from adaptive_sd.decision.policies import ThresholdPolicy
from adaptive_sd.decision.policy_fit import CHOICE_PROMPTS, PolicyFit
from adaptive_sd.decision.selection import SELECTION_ROWS, PredictorFit, PredictorReport
from adaptive_sd.offline.importance import MAX_ROWS
from adaptive_sd.trace import told_cost

_NUM_FEATURES = 10
_DRAWN = {
    "candidate predictors compared on": SELECTION_ROWS,
    "stages that may be left out tried on": CHOICE_PROMPTS,
    "falls of AUC without a feature measured on": MAX_ROWS,
}
"""What is done with at most so many prompts."""
_LEAST_FALL = 0.0005
"""Of AUC, below which a feature is not worth a word."""


@dataclass(frozen=True, slots=True)
class StageReport:
    """One stage: measured quality and cost, its predictor, and how often it runs and answers.

    The shares are of prompts, at the recommended lambda. `importance` is what the predictor's AUC
    loses without a feature, the largest first. `dropped`: it never pays and never runs.
    """

    stage: str
    quality: float
    cost: float
    predictor: PredictorReport
    importance: Mapping[str, float]
    share_run: float
    share_answered: float
    dropped: bool

    def as_lines(self) -> list[str]:
        predictor = self.predictor
        told = [
            f"{name} {fall:.3f}"
            for name, fall in list(self.importance.items())[:_NUM_FEATURES]
            if fall >= _LEAST_FALL
        ]
        return [
            f"{self.stage}: quality {self.quality:.3f}, cost {told_cost(self.cost)}; "
            f"runs on {self.share_run:.0%}, answers {self.share_answered:.0%}",
            f"  predictor: {predictor.candidate}, {predictor.calibration}; "
            f"AUC {_told(predictor.auc)}, Brier {predictor.brier}, ECE {predictor.ece}",
            f"  AUC falls without: {', '.join(told) or 'no single feature'}",
        ]


@dataclass(frozen=True, slots=True)
class GuardReport:
    """The lambdas, from and to, around which a chain of one or two stages did better."""

    lambdas: tuple[float, float]
    stages: tuple[str, ...]


class Change(NamedTuple):
    """What abandoning drafts changes at one lambda, of cost as a share."""

    lam: float
    cost: float
    quality: float

    def __str__(self) -> str:
        return f"cost {self.cost:+.1%}, quality {self.quality:+.4f}"


@dataclass(frozen=True, slots=True)
class AbandonReport:
    """The lambdas, from and to, at which drafts of a stage may be abandoned; empty for no stage.

    The changes are those at the recommended lambda and at the one of the grid where the largest
    share of the loss is saved.
    """

    lambdas: Mapping[str, tuple[tuple[float, float], ...]]
    recommended: Change
    most: Change

    def as_text(self) -> str:
        if not self.lambdas:
            return "drafts are never abandoned: that saved nothing out of fold, beyond noise"
        where = "; ".join(
            f"{name} at lambda {', '.join(_span(*span) for span in spans)}"
            for name, spans in self.lambdas.items()
        )
        return (
            f"drafts may be abandoned of {where}: {self.recommended} at the recommended lambda, "
            f"most at {self.most.lam:.3g}: {self.most}"
        )


def _told(auc: Interval) -> str:
    """It is none where drafts are alike in all that is known of them, or in how good they are."""
    return "none" if math.isnan(auc.value) else f"{auc}"


def _span(low: float, high: float) -> str:
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"


@dataclass(frozen=True, slots=True)
class FitReport:
    """Quality and cost are the policy's, at the recommended lambda.

    Around `myopic_lambdas`, from and to, the next drafts alone decide.
    `abandoning` is None where the table tells nothing of drafts that grow. All quality is agreement
    with the stage `agreement_with`, if that is given.
    """

    num_prompts: int
    num_left_out: int
    stages: tuple[StageReport, ...]
    guards: tuple[GuardReport, ...]
    myopic_lambdas: tuple[tuple[float, float], ...]
    abandoning: AbandonReport | None
    recommended_lambda: float
    lambda_origin: str
    quality: float
    cost: float
    agreement_with: str | None

    def to_json(self) -> dict[str, object]:
        """null stands for what has no value: the AUC of a stage that is always right."""
        return {name: without_nan(value) for name, value in asdict(self).items()}

    def as_text(self) -> str:
        lines = [f"{self.num_prompts} prompts fitted, {self.num_left_out} left out"]
        if self.agreement_with:
            lines.append(f"quality is agreement with {self.agreement_with}")
        if drawn := [f"{d} {n:,}" for d, n in _DRAWN.items() if n < self.num_prompts]:
            lines.append(f"of these, drawn by the seed: {'; '.join(drawn)}")
        for stage in self.stages:
            lines += stage.as_lines()
        if dropped := [s.stage for s in self.stages if s.dropped]:
            lines.append(f"never pays at any lambda, left out: {', '.join(dropped)}")
        for guard in self.guards:
            low, high = guard.lambdas
            lines.append(
                f"lambda {low:.3g} to {high:.3g}: the policy did no better out of fold than "
                f"{' then '.join(guard.stages)}, which is used"
            )
        if self.myopic_lambdas:
            spans = ", ".join(_span(*span) for span in self.myopic_lambdas)
            lines.append(
                f"lambda {spans}: next drafts are judged by themselves, without what may follow: "
                "that lost less out of fold"
            )
        if self.abandoning is not None:
            lines.append(self.abandoning.as_text())
        lines.append(
            f"recommended lambda {self.recommended_lambda:.3g} ({self.lambda_origin}): "
            f"quality {self.quality:.3f}, cost {told_cost(self.cost)}"
        )
        return "\n".join(lines)


def without_nan(value: Any) -> Any:
    """Mappings, and tuples of any kind, with None for each number that is none."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {key: without_nan(part) for key, part in value.items()}
        case tuple():
            return tuple(map(without_nan, value))
    return value


def make_report(
    table: OutcomeTable,
    fits: Sequence[PredictorFit],
    importances: Sequence[Mapping[str, float]],
    fitted: PolicyFit,
    guards: tuple[GuardReport, ...],
    lam_origin: str,
) -> FitReport:
    seen = fitted.seen_at(fitted.recommended_lam)
    stages = tuple(
        StageReport(
            stage=stage.name,
            quality=float(table.quality[:, k].mean()),
            cost=float(table.cost[:, k].mean()),
            predictor=fit.report,
            importance=importance,
            share_run=float(seen.run_share[k]),
            share_answered=float(seen.answer_share[k]),
            dropped=k not in fitted.policy.stages,
        )
        for k, (stage, fit, importance) in enumerate(
            zip(table.stages, fits, importances, strict=True)
        )
    )
    names = [stage.name for stage in table.stages]
    return FitReport(
        num_prompts=len(table.prompt_ids),
        num_left_out=table.num_left_out,
        stages=stages,
        guards=guards,
        myopic_lambdas=_spans(fitted.policy.lam_grid, fitted.is_myopic),
        abandoning=_abandoning(fitted, names),
        recommended_lambda=fitted.recommended_lam,
        lambda_origin=lam_origin,
        quality=seen.quality,
        cost=seen.cost,
        agreement_with=table.agreement_with,
    )


def _abandoning(fitted: PolicyFit, names: Sequence[str]) -> AbandonReport | None:
    if fitted.patient is None:
        return None
    grid, (quality, cost) = fitted.policy.lam_grid, fitted.patient
    saved = cost - fitted.cost + grid * (fitted.quality - quality)
    return AbandonReport(
        {names[stage]: _spans(grid, at) for stage, at in fitted.abandons().items()},
        _change(fitted, fitted.recommended_lam),
        _change(fitted, float(grid[np.argmax(saved / loss_of(cost, quality, grid))])),
    )


def _change(fitted: PolicyFit, lam: float) -> Change:
    seen, patient = fitted.seen_at(lam), fitted.patient_at(lam)
    cost, quality = seen.cost / patient.cost - 1, seen.quality - patient.quality
    return Change(lam, float(cost), float(quality))


def _spans(grid: NDArray[np.float64], at: NDArray[np.bool_]) -> tuple[tuple[float, float], ...]:
    """From and to, of neighbouring lambdas of the grid."""
    places = np.flatnonzero(at)
    runs = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)
    return tuple((float(grid[run[0]]), float(grid[run[-1]])) for run in runs if len(run))


def guards_of(fitted: PolicyFit, names: Sequence[str]) -> tuple[GuardReport, ...]:
    """Neighbouring lambdas with chains of the same stages as one."""
    found: list[GuardReport] = []
    before: ThresholdPolicy | None = None
    for lam, chain in zip(fitted.policy.lam_grid.tolist(), fitted.policy.chains, strict=True):
        if chain is not None:
            goes_on = before is not None and before.stages == chain.stages
            low = found.pop().lambdas[0] if goes_on else lam
            found.append(GuardReport((low, lam), tuple(names[s] for s in chain.stages)))
        before = chain
    return tuple(found)
