"""All policies on one split of a table, and the fit that they are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from adaptive_sd.artifact import Artifact
from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.calibration import auc, bootstrap, brier_score, expected_calibration_error
from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.guarded import GuardedPolicy
from adaptive_sd.decision.network import FittedPredictor
from adaptive_sd.offline.evidence import Projections
from adaptive_sd.offline.fit import lam_origin
from adaptive_sd.offline.replay.adaptive import adaptive_of, random
from adaptive_sd.offline.replay.contest import Contest
from adaptive_sd.offline.replay.dials import Dials
from adaptive_sd.offline.replay.halves import Halves, fit_halves, halves_of, num_shared, split
from adaptive_sd.offline.replay.measure import (
    BASELINE,
    PolicyReport,
    Prompts,
    areas,
    draw,
    interval,
    make_report,
)
from adaptive_sd.offline.replay.over_lams import lams_of
from adaptive_sd.offline.replay.report import (
    ArtifactUse,
    PredictorQuality,
    ReplayReport,
    StageMeans,
)
from adaptive_sd.offline.replay.seen import Seen

OURS = "adaptive"


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """The fitted policy and predictors, and the prompts unseen by them that they are measured on.

    `table` and `outcomes` have the same prompts in the same order.
    """

    policy: GuardedPolicy
    predictors: tuple[FittedPredictor, ...]
    projections: Projections
    recommended_lam: float
    lam_origin: str
    table: FitTable
    outcomes: OutcomeTable
    agreement_with: str | None = None

    @classmethod
    def of(cls, artifact: Artifact, table: FitTable, outcomes: OutcomeTable) -> Self:
        return cls(
            policy=artifact.policy,
            predictors=artifact.predictors,
            projections=artifact.projections,
            recommended_lam=artifact.recommended_lam,
            lam_origin=artifact.lam_origin,
            table=table,
            outcomes=outcomes,
            agreement_with=artifact.agreement_with,
        )

    def origin_of(self, given: float | None) -> str:
        """Where a lambda comes from, in words; None: the recommended one."""
        known = f"{self.recommended_lam:.3g}: {self.lam_origin}"
        return f"recommended, {known}" if given is None else f"given; recommended: {known}"


class Field:
    """All policies on one split; fits what is asked for, once; deterministic for a seed.

    With an artifact, `adaptive` and `random` are the artifact's, and the estimates that all others
    choose by are its predictors'; where these were fitted on prompts of the fit half they are no
    estimates there: predictors of that half are fitted for the others then, and nobody can tell
    which setting of the artifact's to choose.
    """

    def __init__(self, table: OutcomeTable, seen: Seen | None, *, seed: int) -> None:
        """Raises DataError for a table that cannot be split in halves."""
        parts = split(table, seed=seed)
        num_test = len(parts.test)
        if seen is not None:
            parts = replace(parts, test=np.intersect1d(parts.test, seen.overlap.measurable))
        self._outcomes, self._seen, self._parts = table, seen, parts
        self._num_seen = num_test - len(parts.test)
        self._told = seen is None or not seen.overlap.was_fitted_on[parts.fit].any()
        self._ours = None if seen is None else halves_of(table, parts, seen.table)
        fit_rng = np.random.default_rng(seed)
        halves = self._ours if self._ours and self._told else fit_halves(table, parts, rng=fit_rng)
        self.contest = Contest(halves, fit_rng=fit_rng, seed=seed)

    @cached_property
    def subject(self) -> Subject:
        """The artifact, else what the fit half gave; on the test half."""
        if self._seen is not None:
            outcomes = self._outcomes.take(self._parts.test)
            return Subject.of(self._seen.artifact, self._judged.test, outcomes)
        halves, fitted = self.contest.halves, self.contest.fitted
        return Subject(
            policy=fitted.policy,
            predictors=tuple(fit.predictor for fit in halves.predictors),
            projections=halves.projections,
            recommended_lam=fitted.recommended_lam,
            lam_origin=lam_origin(fitted, halves.fit_outcomes),
            table=halves.test,
            outcomes=halves.test_outcomes,
        )

    def report(self, policies: Sequence[str], num_resamples: int) -> ReplayReport:
        halves, outcomes = self.contest.halves, self._outcomes
        return ReplayReport(
            num_fit=len(self._parts.fit),
            num_test=len(self._parts.test),
            num_left_out=outcomes.num_left_out,
            num_shared=num_shared(outcomes, self._parts),
            own_split=self._parts.own,
            artifact=None if self._seen is None else self._use(self._seen),
            stages=tuple(
                StageMeans(
                    name,
                    float(halves.test.quality[:, k].mean()),
                    float(halves.test.cost[:, k].mean()),
                )
                for k, name in enumerate(halves.names)
            ),
            policies=self.measure(policies, num_resamples),
            predictors=self._predictors(num_resamples),
            seeds={},
        )

    def measure(self, policies: Sequence[str], num_resamples: int) -> dict[str, PolicyReport]:
        fit, prompts = self.contest.halves.fit, self.prompts(num_resamples)
        base = areas(self.contest.dials(BASELINE), prompts)
        reports = {}
        for name in policies:
            dials = self.dials(name)
            found = areas(dials, prompts)
            gain = None if name == BASELINE else interval(found - base)
            reports[name] = make_report(dials, prompts, fit, gain, found)
        return reports

    def prompts(self, num_resamples: int) -> Prompts:
        """What policies are measured on: the test half."""
        return draw(self.contest.halves.test, num_resamples, rng=self.contest.rng(5))

    def dials(self, name: str) -> Dials:
        """All settings of the policy of this name, on those prompts."""
        if self._seen is None or name not in (OURS, "random"):
            return self.contest.dials(name)
        dials = self._artifact_dials
        if name != OURS:
            dials = random(self._judged, self._seen.artifact.policy, lams_of(dials))
        return dials if self._told else dials.untold()

    @cached_property
    def _artifact_dials(self) -> Dials:
        assert self._seen is not None
        return adaptive_of(self._seen.artifact.policy, self._judged)

    @property
    def _judged(self) -> Halves:
        """The halves by the estimates that the subject decides by."""
        return self._ours or self.contest.halves

    def _use(self, seen: Seen) -> ArtifactUse:
        return ArtifactUse(
            num_left_out=self._num_seen,
            saw_fit_half=not self._told,
            overlap_checked=seen.overlap.checked,
            agreement_with=seen.artifact.agreement_with,
        )

    def _predictors(self, num_resamples: int) -> tuple[PredictorQuality, ...]:
        """The subject's, on the test half."""
        table, rng = self._judged.test, self.contest.rng(7)
        return tuple(
            PredictorQuality(
                name,
                *(
                    bootstrap(
                        metric,
                        table.told(k),
                        table.quality[:, k],
                        rng=rng,
                        groups=table.group,
                        num_resamples=num_resamples,
                    )
                    for metric in (auc, expected_calibration_error, brier_score)
                ),
            )
            for k, name in enumerate(self._judged.names)
        )
