"""A ladder fitted on prompts without answers, and what can be said of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from adaptive_sd.artifact import Artifact
from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.calibration import Interval
from adaptive_sd.decision.certificates import Certificates
from adaptive_sd.decision.claims import KeptQuality
from adaptive_sd.errors import DataError
from adaptive_sd.forms import Form
from adaptive_sd.offline.answers import prompt_views
from adaptive_sd.offline.certify import MIN_CERTIFIED, certifiable, fit_certified
from adaptive_sd.offline.fit import (
    MIN_FORM_PROMPTS,
    MIN_PROMPTS,
    covered_forms,
    fit_artifact,
    fit_part,
)
from adaptive_sd.offline.fit_report import FitReport
from adaptive_sd.offline.replay.measure import Prompts, all_means, draw, interval
from adaptive_sd.offline.replay.seen import seen_by
from adaptive_sd.offline.unlabelled.agreement import grade_by_agreement
from adaptive_sd.offline.unlabelled.expected import (
    expect,
    make_parts,
    outcome_unseen,
    spread_lams,
    with_alone,
)
from adaptive_sd.offline.unlabelled.report import CalibrationReport, FormAgreement

CONFIDENCE = 0.95
"""Of what is certified."""
_NUM_RESAMPLES = 2000


class Calibrated(NamedTuple):
    """The artifact knows that its quality is agreement; `fit` is of the prompts fitted on."""

    artifact: Artifact
    fit: FitReport
    report: CalibrationReport


def check_number(num_prompts: int, target_quality: float | None) -> None:
    """Raise DataError for fewer prompts than a calibration takes."""
    least = MIN_PROMPTS if target_quality is None else MIN_CERTIFIED
    if num_prompts < least:
        what = "a calibration" if target_quality is None else "one with --target-quality"
        raise DataError(
            f"{num_prompts} prompts that can be used; {what} needs at least {least}, and is good "
            "with 100 to 500."
        )


def calibrate(
    table: OutcomeTable,
    *,
    target_quality: float | None = None,
    seed: int = 0,
    say: Callable[[str], None] = lambda line: None,
) -> Calibrated:
    """Deterministic for a seed; grades, and prompts that the column `split` tests on, do not count.

    With a target 30 % of the prompts are set aside to certify it. `say` is told what is being done.
    Raises DataError for a table that agreement cannot be told of, for too few prompts, also of
    every form, and where the target is not certified.
    """
    agreed = grade_by_agreement(fit_part(table))
    table = agreed.table
    check_number(len(table.prompt_ids), target_quality)
    _check_covered(table)
    say(f"fitting on {len(table.prompt_ids)} prompts; a minute or a few")
    if target_quality is None:
        artifact, fit = fit_artifact(table, seed=seed)
        say("fitting with some set aside, to see what could be promised")
        promise, certified, uncertified = None, *_certifiable(table, seed)
    else:
        claim = KeptQuality(target_quality, table.agreement_with)
        artifact, fit, promise = fit_certified(table, claim, confidence=CONFIDENCE, seed=seed)
        certified, uncertified = promise.certificates, None
    with threadpool_limits(limits=1):
        seen = seen_by(artifact, table)
        lams = [artifact.recommended_lam, *spread_lams(artifact.policy, seen)]
        parts, safe = make_parts(table, seed=seed), promise is not None
        outcome = outcome_unseen(
            *(table, artifact.forms, lams, parts),
            top=artifact.policy.top,
            safe=safe,
            seed=seed,
            say=say,
        )
    prompts = draw(seen, _NUM_RESAMPLES, rng=np.random.default_rng([seed, 10]))
    outcome = with_alone(outcome, artifact.policy, lams, table)
    recommended, *dial = expect(outcome, prompts, lams)
    report = CalibrationReport(
        agreement_with=table.stages[-1].name,
        num_prompts=len(table.prompt_ids),
        num_failed=agreed.num_failed,
        num_unanswered=agreed.num_unanswered,
        forms=_forms(table, artifact),
        stages=_stages(table, prompts),
        recommended=recommended,
        lam_origin=artifact.lam_origin,
        dial=tuple(dial),
        promise=promise,
        certified=certified,
        uncertified=uncertified,
    )
    metrics = {**artifact.metrics, "calibration": report.to_json()}
    return Calibrated(replace(artifact, metrics=metrics), fit, report)


def _certifiable(table: OutcomeTable, seed: int) -> tuple[Certificates | None, str | None]:
    """What a target would certify, or why none could be."""
    try:
        return certifiable(table, confidence=CONFIDENCE, seed=seed), None
    except DataError as error:
        return None, str(error)


def _check_covered(table: OutcomeTable) -> None:
    if not covered_forms(prompt_views(table)):
        raise DataError(
            f"no form of prompt came {MIN_FORM_PROMPTS} times, so the last stage would answer "
            "everything; give more prompts, or those of one kind."
        )


def _forms(table: OutcomeTable, artifact: Artifact) -> tuple[FormAgreement, ...]:
    """Of those that there are."""
    forms = np.array([prompt.form for prompt in prompt_views(table)])
    found = ((form, table.quality[forms == form]) for form in Form if (forms == form).any())
    return tuple(
        FormAgreement(form, len(quality), form in artifact.forms, tuple(quality.mean(axis=0)))
        for form, quality in found
    )


def _stages(table: OutcomeTable, prompts: Prompts) -> dict[str, Interval]:
    means = all_means(table.quality.T, prompts)
    return {s.name: interval(means[:, k]) for k, s in enumerate(table.stages)}
