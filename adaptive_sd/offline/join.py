"""A new stage joins a fitted ladder on few graded prompts, without a new fit of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from adaptive_sd.artifact import Artifact
from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.calibration import Calibration
from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.guarded import GuardedPolicy
from adaptive_sd.decision.induced import InducedPolicy
from adaptive_sd.decision.joining import CAUTION, join, make_room
from adaptive_sd.decision.network import FittedPredictor
from adaptive_sd.decision.paths import follow
from adaptive_sd.decision.recalibration import Shift
from adaptive_sd.decision.shrinkage import (
    Labelled,
    mean_quality,
    shrunk_logistic,
)
from adaptive_sd.errors import DataError
from adaptive_sd.offline.evidence import TableEvidence, read_evidence, to_fit_table
from adaptive_sd.offline.fit import acceptance_of, data_hash, fit_part
from adaptive_sd.offline.prompts import hashes_of
from adaptive_sd.offline.replay.seen import check_ladder, shifted_by
from adaptive_sd.offline.verification import PairKey
from adaptive_sd.trace import told_cost
from adaptive_sd.types import Acceptance

MIN_PROMPTS = 20
_SURE = 0.9
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class JoinReport:
    """What the graded prompts say of the stage that joined.

    `low` and `high` bound its mean quality by a 90 % credible interval; decisions go by `assumed`.
    The shares are of these prompts at the recommended lambda.
    """

    stage: str
    num_prompts: int
    quality: float
    low: float
    high: float
    assumed: float
    cost: float
    share_run: float
    share_answered: float
    recommended_lambda: float

    def to_json(self) -> dict[str, object]:
        return asdict(self)

    @property
    def _known(self) -> str:
        return (
            f"{self.num_prompts} graded prompts, 90 % credible interval of its mean quality "
            f"{self.low:.2f} to {self.high:.2f}"
        )

    def as_origin(self) -> str:
        return f"{self.stage} ({self._known})"

    def as_text(self) -> str:
        return (
            f"new stage {self.stage}: {self._known} (the prompts: {self.quality:.2f}; "
            f"decisions go by {self.assumed:.2f}), cost {told_cost(self.cost)}; at lambda "
            f"{self.recommended_lambda:.3g} it runs on {self.share_run:.0%} of them and answers "
            f"{self.share_answered:.0%}"
        )


def join_artifact(
    artifact: Artifact, table: OutcomeTable, *, caution: float = CAUTION
) -> tuple[Artifact, JoinReport]:
    """`table` has all of the artifact's stages and the new one, at any place of the ladder.

    Where it has a `split`, only "fit" rows count. Raises DataError for fewer than MIN_PROMPTS and
    for a table of other stages.
    """
    with threadpool_limits(limits=1):  # the products are small: threads only wait for each other
        return _join(artifact, fit_part(table), caution)


def _join(artifact: Artifact, table: OutcomeTable, caution: float) -> tuple[Artifact, JoinReport]:
    if artifact.agreement_with:
        raise DataError(
            f"this artifact's qualities are agreement with {artifact.agreement_with}, those of "
            "graded prompts are not; calibrate all stages together with `adaptive-sd calibrate`."
        )
    stage = _newcomer(artifact, table)
    if len(table.prompt_ids) < MIN_PROMPTS:
        raise DataError(
            f"{len(table.prompt_ids)} graded prompts; a stage joins with at least {MIN_PROMPTS} "
            "(30 to 50 are better). Record more prompts."
        )
    room = make_room(artifact.policy, stage)
    if not isinstance(room.induced, InducedPolicy):
        raise DataError(
            "a stage has joined this artifact already, and only one can; record more prompts and "
            "fit all stages with `adaptive-sd fit`."
        )
    projections = _with(artifact.projections, stage, None)
    evidence = read_evidence(table, projections)
    predictor = _predictor(artifact.prior.predictor, table, evidence, stage)
    predictors = _with(artifact.predictors, stage, predictor)
    estimates = [p.predict_many(evidence.features[:, k]) for k, p in enumerate(predictors)]
    shifts = _with(artifact.shifts, stage, Shift()) if artifact.shifts else ()
    seen = shifted_by(shifts, to_fit_table(table, evidence, np.stack(estimates, axis=1)))
    policy = join(room, seen, stage, caution=caution)
    report = _report(table, seen, policy, stage, artifact.recommended_lam, caution)
    joined = replace(
        artifact,
        stages=table.stages,
        predictors=predictors,
        projections=projections,
        shifts=shifts,
        policy=policy,
        acceptance=_acceptance(artifact, table, evidence, stage),
        lam_origin=f"{artifact.lam_origin}, before {report.as_origin()} joined",
        prompt_hashes=tuple(sorted({*artifact.prompt_hashes, *hashes_of(table)})),
        data_hash=data_hash(table),
        metrics={**artifact.metrics, "joined": report.to_json()},
        certificates=None,
        reference=None,
    )
    return joined, report


def _newcomer(artifact: Artifact, table: OutcomeTable) -> int:
    """The place of the stage that the artifact does not know."""
    known = {stage.name for stage in artifact.stages}
    new = [k for k, stage in enumerate(table.stages) if stage.name not in known]
    if len(new) != 1:
        names = ", ".join(table.stages[k].name for k in new) or "none"
        raise DataError(
            f"one stage joins at a time; of the table's the artifact does not know: {names}. It "
            f"needs {', '.join(stage.name for stage in artifact.stages)} and the new one."
        )
    others = [stage for k, stage in enumerate(table.stages) if k != new[0]]
    check_ladder(artifact.stages, others)
    return new[0]


def _with(values: Sequence[_T], place: int, value: _T) -> tuple[_T, ...]:
    return (*values[:place], value, *values[place:])


def _predictor(
    pooled: FittedPredictor, table: OutcomeTable, evidence: TableEvidence, stage: int
) -> FittedPredictor:
    """The one that is pooled over the artifact's stages, calibrated for the new one."""

    def rows(k: int) -> Labelled:
        scores = pooled.scores(evidence.features[:, k])
        design = np.stack([np.ones_like(scores), scores], axis=1)
        return Labelled(design, table.quality[:, k], np.ones(len(scores)))

    others = [rows(k) for k in range(len(table.stages)) if k != stage]
    intercept, slope = shrunk_logistic(others, rows(stage), np.array([0.0, 1.0])).tolist()
    return replace(pooled, calibration=Calibration(slope, intercept))


def _acceptance(
    artifact: Artifact, table: OutcomeTable, evidence: TableEvidence, stage: int
) -> Mapping[PairKey, Acceptance]:
    """The artifact's, and that of the new stage's pairs."""
    places = _with(range(len(artifact.stages)), stage, -1)
    moved = {old: new for new, old in enumerate(places) if old >= 0}
    found = acceptance_of(table, [prompt.form for prompt in evidence.prompts])
    return {
        **{key: weights for key, weights in found.items() if stage in key[:2]},
        **{(moved[j], moved[k], form): a for (j, k, form), a in artifact.acceptance.items()},
    }


def _report(
    table: OutcomeTable,
    seen: FitTable,
    policy: GuardedPolicy,
    stage: int,
    lam: float,
    caution: float,
) -> JoinReport:
    posterior = mean_quality(table.quality, stage)
    paths = follow(policy, seen, lam)
    return JoinReport(
        stage=table.stages[stage].name,
        num_prompts=len(table.prompt_ids),
        quality=float(table.quality[:, stage].mean()),
        low=posterior.quantile((1 - _SURE) / 2),
        high=posterior.quantile((1 + _SURE) / 2),
        assumed=posterior.quantile(caution),
        cost=float(table.cost[:, stage].mean()),
        share_run=float(np.mean([stage in path.stages for path in paths])),
        share_answered=float(np.mean([path.returned == stage for path in paths])),
        recommended_lambda=lam,
    )
