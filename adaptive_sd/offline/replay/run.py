"""One replay: split, fit, follow every policy, measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from adaptive_sd.artifact import Artifact
from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.data.tasks import prompt_hash
from adaptive_sd.decision.calibration import auc, bootstrap, brier_score, expected_calibration_error
from adaptive_sd.decision.induction import FitTable
from adaptive_sd.errors import ConfigError, DataError
from adaptive_sd.offline.replay.adaptive import adaptive_of, lams_of, random
from adaptive_sd.offline.replay.contest import POLICIES, Contest
from adaptive_sd.offline.replay.dials import Dials
from adaptive_sd.offline.replay.halves import (
    Split,
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
    areas,
    draw,
    interval,
    make_report,
)
from adaptive_sd.offline.replay.report import PredictorQuality, ReplayReport, StageMeans

OURS = "adaptive"


def replay(
    table: OutcomeTable,
    *,
    policies: Sequence[str] = POLICIES,
    artifact: Artifact | None = None,
    num_seeds: int = 1,
    num_resamples: int = 1000,
    seed: int = 0,
) -> ReplayReport:
    """Deterministic for a seed.

    Everything is chosen on the fit half and measured on the test half; `adaptive` of an artifact,
    which was fitted on other prompts, is measured on all prompts, and the others choose by its
    predictors' estimates: nothing is fitted to predict quality then. Raises ConfigError for an
    unknown policy, DataError for a table that cannot be replayed, or not with the artifact.
    """
    for name in policies:
        if name not in POLICIES:
            raise ConfigError(f"no policy {name[:40]!r}; known: {', '.join(POLICIES)}.")
    if artifact is not None:
        check_artifact(artifact, table)
    # Many small products: on a busy machine threads wait for each other far longer than they work.
    with threadpool_limits(limits=1):
        return _replay(table, policies, artifact, num_seeds, num_resamples, seed)


def _replay(
    table: OutcomeTable,
    policies: Sequence[str],
    artifact: Artifact | None,
    num_seeds: int,
    num_resamples: int,
    seed: int,
) -> ReplayReport:
    parts = split(table, seed=seed)
    seen = None if artifact is None else _Seen(artifact, seen_by(artifact, table))
    field = _Field(table, parts, seen, seed)
    found = field.measure(policies, num_resamples)
    seeds = {name: [report.area.value] for name, report in found.items()}
    for again in range(seed + 1, seed + num_seeds):
        other = _Field(table, split(table, seed=again), seen, again)
        for name, report in other.measure(policies, 0).items():
            seeds[name].append(report.area.value)
    test = field.contest.halves.test
    return ReplayReport(
        num_fit=len(parts.fit),
        num_test=len(parts.test),
        num_left_out=table.num_left_out,
        num_shared=num_shared(table, parts),
        own_split=parts.own,
        num_artifact_prompts=None if artifact is None else len(table.prompt_ids),
        overlap_checked=artifact is not None and any(prompt_texts(table)),
        stages=tuple(
            StageMeans(stage.name, float(test.quality[:, k].mean()), float(test.cost[:, k].mean()))
            for k, stage in enumerate(table.stages)
        ),
        predictors=field.predictors(num_resamples),
        policies=found,
        seeds={name: tuple(values) for name, values in seeds.items()} if num_seeds > 1 else {},
    )


def check_artifact(artifact: Artifact, table: OutcomeTable) -> None:
    """Raises DataError for another ladder's table, and for prompts that the artifact has seen."""
    ours, theirs = ([stage.name for stage in side.stages] for side in (artifact, table))
    if ours != theirs:
        raise DataError(
            f"the artifact is fitted for {', '.join(ours)}; the table has {', '.join(theirs)}."
        )
    fitted = set(artifact.prompt_hashes)
    num_seen = sum(prompt_hash(text) in fitted for text in prompt_texts(table) if text)
    if num_seen:
        raise DataError(
            f"{num_seen} of {len(table.prompt_ids)} prompts of the table are among those that the "
            "artifact was fitted on; replay it on others, or leave out --artifact."
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """An artifact, and all prompts as its predictors see them."""

    artifact: Artifact
    table: FitTable


class _Field:
    """The policies on one split.

    With an artifact, `adaptive` and `random` are the artifact's, and the estimates that all others
    choose by are its predictors'.
    """

    def __init__(self, table: OutcomeTable, parts: Split, seen: _Seen | None, seed: int) -> None:
        fit_rng = np.random.default_rng(seed)
        halves = (
            fit_halves(table, parts, rng=fit_rng)
            if seen is None
            else halves_of(table, parts, seen.table)
        )
        self.contest = Contest(halves, fit_rng=fit_rng, seed=seed)
        self._parts = parts
        self._seen = seen

    def measure(self, policies: Sequence[str], num_resamples: int) -> dict[str, PolicyReport]:
        halves, rng = self.contest.halves, self.contest.rng
        tested = draw(halves.test, num_resamples, rng=rng(5))
        base = areas(self.contest.dials(BASELINE), tested)
        reports = {}
        for name in policies:
            dials = self._dials(name)
            if self._seen is not None and name == OURS:
                prompts = draw(self._seen.table, num_resamples, rng=rng(6))
                found, paired = areas(dials, prompts), areas(dials, tested, self._parts.test)
            else:
                prompts = tested
                found = paired = areas(dials, tested)
            gain = None if name == BASELINE else interval(paired - base)
            reports[name] = make_report(dials, prompts, halves.fit, gain, found)
        return reports

    def _dials(self, name: str) -> Dials:
        if self._seen is None or name not in (OURS, "random"):
            return self.contest.dials(name)
        halves = self.contest.halves
        ours = adaptive_of(self._seen.artifact, self._seen.table, halves.fit)
        if name == OURS:
            return ours
        return random(halves, self._seen.artifact.policy, lams_of(ours))

    def predictors(self, num_resamples: int) -> tuple[PredictorQuality, ...]:
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
