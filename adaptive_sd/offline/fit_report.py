"""What a fit found, in numbers and in words; everything out of fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.calibration import Interval
from adaptive_sd.decision.induction import InductionFit
from adaptive_sd.decision.selection import PredictorFit, PredictorReport


@dataclass(frozen=True, slots=True)
class StageReport:
    """One stage: measured quality and cost, its predictor, and how often it runs and answers.

    The shares are of prompts, at the recommended lambda.
    """

    stage: str
    quality: float
    cost: float
    predictor: PredictorReport
    share_run: float
    share_answered: float


@dataclass(frozen=True, slots=True)
class FitReport:
    """Quality and cost are the policy's, at the recommended lambda."""

    num_prompts: int
    num_left_out: int
    stages: tuple[StageReport, ...]
    recommended_lambda: float
    lambda_origin: str
    quality: float
    cost: float

    def to_json(self) -> dict[str, object]:
        return asdict(self)

    def as_text(self) -> str:
        lines = [f"{self.num_prompts} prompts fitted, {self.num_left_out} left out"]
        for stage in self.stages:
            predictor = stage.predictor
            lines += [
                f"{stage.stage}: quality {stage.quality:.3f}, cost {stage.cost:.3f}; "
                f"runs on {stage.share_run:.0%}, answers {stage.share_answered:.0%}",
                f"  predictor: {predictor.candidate}, {predictor.calibration}; "
                f"AUC {_interval(predictor.auc)}, Brier {_interval(predictor.brier)}, "
                f"ECE {_interval(predictor.ece)}",
            ]
        unused = [s.stage for s in self.stages if s.share_run == 0]
        if unused:
            lines.append(f"never pays at this lambda: {', '.join(unused)}")
        lines.append(
            f"recommended lambda {self.recommended_lambda:.3g} ({self.lambda_origin}): "
            f"quality {self.quality:.3f}, cost {self.cost:.3f}"
        )
        return "\n".join(lines)


def make_report(
    table: OutcomeTable, fits: Sequence[PredictorFit], induction: InductionFit, lam_origin: str
) -> FitReport:
    at = int(np.searchsorted(induction.policy.lam_grid, induction.recommended_lam))
    stages = tuple(
        StageReport(
            stage=stage.name,
            quality=float(table.quality[:, k].mean()),
            cost=float(table.cost[:, k].mean()),
            predictor=fit.report,
            share_run=float(induction.run_share[at, k]),
            share_answered=float((induction.stage[:, at] == k).mean()),
        )
        for k, (stage, fit) in enumerate(zip(table.stages, fits, strict=True))
    )
    return FitReport(
        num_prompts=len(table.prompt_ids),
        num_left_out=table.num_left_out,
        stages=stages,
        recommended_lambda=induction.recommended_lam,
        lambda_origin=lam_origin,
        quality=float(induction.quality[:, at].mean(dtype=np.float64)),
        cost=float(induction.cost[:, at].mean(dtype=np.float64)),
    )


def _interval(interval: Interval) -> str:
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
