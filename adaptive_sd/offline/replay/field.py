"""All policies on one split of a table, and the fit that they are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from adaptive_sd.artifact import Artifact
from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.calibration import auc, bootstrap, brier_score, expected_calibration_error
from adaptive_sd.decision.guarded import GuardedPolicy
from adaptive_sd.decision.induction import FitTable
from adaptive_sd.decision.network import FittedPredictor
from adaptive_sd.offline.evidence import Projections
from adaptive_sd.offline.fit import lam_origin
from adaptive_sd.offline.replay.adaptive import adaptive_of, lams_of, random
from adaptive_sd.offline.replay.contest import Contest
from adaptive_sd.offline.replay.dials import Dials
from adaptive_sd.offline.replay.halves import (
    fit_halves,
    halves_of,
    num_shared,
    prompt_texts,
    seen_by,
    split,
)
from adaptive_sd.offline.replay.measure import (
    BASELINE,
    PolicyReport,
    Prompts,
    areas,
    draw,
    interval,
    make_report,
)
from adaptive_sd.offline.replay.report import PredictorQuality, ReplayReport, StageMeans

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


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """An artifact, and all prompts as its predictors see them."""

    artifact: Artifact
    table: FitTable


def see_with(artifact: Artifact | None, table: OutcomeTable) -> Seen | None:
    return None if artifact is None else Seen(artifact, seen_by(artifact, table))


class Field:
    """All policies on one split; fits what is asked for, once; deterministic for a seed.

    With an artifact, `adaptive` and `random` are the artifact's, and the estimates that all others
    choose by are its predictors'.
    """

    def __init__(self, table: OutcomeTable, seen: Seen | None, *, seed: int) -> None:
        """Raises DataError for a table that cannot be split in halves."""
        self._outcomes = table
        self._parts = split(table, seed=seed)
        self._seen = seen
        fit_rng = np.random.default_rng(seed)
        halves = (
            fit_halves(table, self._parts, rng=fit_rng)
            if seen is None
            else halves_of(table, self._parts, seen.table)
        )
        self.contest = Contest(halves, fit_rng=fit_rng, seed=seed)

    @cached_property
    def subject(self) -> Subject:
        """The artifact on all prompts, else what the fit half gave on the test half."""
        if self._seen is not None:
            artifact = self._seen.artifact
            return Subject(
                policy=artifact.policy,
                predictors=artifact.predictors,
                projections=artifact.projections,
                recommended_lam=artifact.recommended_lam,
                lam_origin=artifact.lam_origin,
                table=self._seen.table,
                outcomes=self._outcomes,
            )
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
        with_artifact = self._seen is not None
        return ReplayReport(
            num_fit=len(self._parts.fit),
            num_test=len(self._parts.test),
            num_left_out=outcomes.num_left_out,
            num_shared=num_shared(outcomes, self._parts),
            own_split=self._parts.own,
            num_artifact_prompts=len(outcomes.prompt_ids) if with_artifact else None,
            overlap_checked=with_artifact and any(prompt_texts(outcomes)),
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
        halves, tested = self.contest.halves, self.prompts(BASELINE, num_resamples)
        base = areas(self.contest.dials(BASELINE), tested)
        reports = {}
        for name in policies:
            dials = self.dials(name)
            if self._on_all(name):
                prompts = self.prompts(name, num_resamples)
                found, paired = areas(dials, prompts), areas(dials, tested, self._parts.test)
            else:
                prompts = tested
                found = paired = areas(dials, tested)
            gain = None if name == BASELINE else interval(paired - base)
            reports[name] = make_report(dials, prompts, halves.fit, gain, found)
        return reports

    def prompts(self, name: str, num_resamples: int) -> Prompts:
        """What this policy is measured on: all prompts for an artifact's, else the test half."""
        if self._seen is not None and self._on_all(name):
            return draw(self._seen.table, num_resamples, rng=self.contest.rng(6))
        return draw(self.contest.halves.test, num_resamples, rng=self.contest.rng(5))

    def dials(self, name: str) -> Dials:
        """All settings of the policy of this name, on those prompts."""
        if self._seen is None or name not in (OURS, "random"):
            return self.contest.dials(name)
        ours = self._artifact_dials
        if name == OURS:
            return ours
        return random(self.contest.halves, self._seen.artifact.policy, lams_of(ours))

    def _on_all(self, name: str) -> bool:
        return self._seen is not None and name == OURS

    @cached_property
    def _artifact_dials(self) -> Dials:
        assert self._seen is not None
        return adaptive_of(self._seen.artifact, self._seen.table, self.contest.halves.fit)

    def _predictors(self, num_resamples: int) -> tuple[PredictorQuality, ...]:
        """Of the artifact on all prompts, else of the fit half's on the test half."""
        halves = self.contest.halves
        table = halves.test if self._seen is None else self._seen.table
        rng = self.contest.rng(7)
        return tuple(
            PredictorQuality(
                name,
                *(
                    bootstrap(
                        metric,
                        table.estimates[:, k],
                        table.quality[:, k],
                        rng=rng,
                        num_resamples=num_resamples,
                    )
                    for metric in (auc, expected_calibration_error, brier_score)
                ),
            )
            for k, name in enumerate(halves.names)
        )
