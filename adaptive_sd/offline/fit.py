"""From an outcome table to an artifact: predictors, acceptance, continuation values, lambda."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from adaptive_sd.artifact import Artifact, Prior
from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.alone import with_sound_default
from adaptive_sd.decision.features import NUM_FORMS, STATISTIC_NAMES, PromptView
from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.known_p import fit_pooled_prior
from adaptive_sd.decision.noise import NOISE
from adaptive_sd.decision.policy_fit import RECOMMENDED_SHARE, PolicyFit, fit_policy
from adaptive_sd.decision.selection import CANDIDATES, PredictorFit, fit_predictor
from adaptive_sd.errors import DataError
from adaptive_sd.forms import Form
from adaptive_sd.offline.evidence import (
    Projections,
    TableEvidence,
    fit_projections,
    read_evidence,
    to_fit_table,
)
from adaptive_sd.offline.fit_report import FitReport, guards_of, make_report
from adaptive_sd.offline.importance import permutation_importance
from adaptive_sd.offline.prompts import hashes_of
from adaptive_sd.offline.reference import reference_of
from adaptive_sd.offline.signals import signal_columns
from adaptive_sd.offline.verification import PairKey, compared_of, learn_acceptance
from adaptive_sd.types import Acceptance

MIN_PROMPTS = 50
MIN_FORM_PROMPTS = 20
"""Prompts of one form from which a fit may speak of that form."""

_WHERE = "out of fold, on the prompts it was chosen on"
_PRIOR_PROMPTS = 20_000
_PRIOR_SIZE = 1.0
"""Billions of parameters taken for stages whose size the table does not tell."""


class LadderFit(NamedTuple):
    """All that decides, and what it was fitted on; `rng` goes on with the fit's draws."""

    table: OutcomeTable
    evidence: TableEvidence
    projections: Projections
    predictors: tuple[PredictorFit, ...]
    seen: FitTable
    policy: PolicyFit
    rng: np.random.Generator


def fit_artifact(table: OutcomeTable, *, seed: int = 0) -> tuple[Artifact, FitReport]:
    """Deterministic for a seed; where the table has a `split`, only "fit" rows count.

    Raises DataError for too few prompts.
    """
    used = fit_part(table)
    check_enough(used)
    with threadpool_limits(limits=1):  # the products are small: threads only wait for each other
        ladder = fit_ladder(used, seed=seed)
        fitted = with_sound_default(ladder.policy, ladder.seen)
        return to_artifact(ladder, fitted, lam_origin(fitted, ladder.table))


def fit_ladder(table: OutcomeTable, *, seed: int) -> LadderFit:
    """Predictors and policy, on all prompts of the table. Raises DataError as `make_folds` does."""
    num_stages = len(table.stages)
    rng = np.random.default_rng(seed)
    projections = fit_projections(table)
    evidence = read_evidence(table, projections)
    fits = tuple(
        fit_predictor(evidence.features[:, k], table.quality[:, k], rng=rng, groups=evidence.group)
        for k in range(num_stages)
    )
    estimates = np.stack([fit.estimates for fit in fits], axis=1)
    seen = to_fit_table(table, evidence, estimates)
    return LadderFit(table, evidence, projections, fits, seen, fit_policy(seen, rng=rng), rng)


def to_artifact(ladder: LadderFit, fitted: PolicyFit, origin: str) -> tuple[Artifact, FitReport]:
    """`fitted` is the ladder's policy as it shall be used; `origin` says why its lambda is."""
    table, evidence, fits = ladder.table, ladder.evidence, ladder.predictors
    importances = [
        permutation_importance(
            fit.score_unseen,
            evidence.features[:, k],
            table.quality[:, k],
            signal_columns(table),
            rng=ladder.rng,
        )
        for k, fit in enumerate(fits)
    ]
    guards = guards_of(ladder.policy, [stage.name for stage in table.stages])
    forms = covered_forms(evidence.prompts)
    covered = np.array([prompt.form in forms for prompt in evidence.prompts])
    report = make_report(table, fits, importances, fitted, guards, origin)
    artifact = Artifact(
        stages=table.stages,
        predictors=tuple(fit.predictor for fit in fits),
        projections=ladder.projections,
        policy=fitted.policy,
        prior=_prior(table, evidence, ladder.rng),
        acceptance=acceptance_of(table, [prompt.form for prompt in evidence.prompts]),
        recommended_lam=fitted.recommended_lam,
        lam_origin=origin,
        forms=forms,
        prompt_hashes=hashes_of(table),
        data_hash=data_hash(table),
        metrics=report.to_json(),
        agreement_with=table.agreement_with,
        reference=reference_of(fitted.policy, ladder.seen, fitted.recommended_lam, covered),
    )
    return artifact, report


def check_enough(table: OutcomeTable) -> None:
    """Raise DataError for fewer than MIN_PROMPTS prompts."""
    if (num_prompts := len(table.prompt_ids)) < MIN_PROMPTS:
        raise DataError(f"{num_prompts} graded prompts; a fit needs at least {MIN_PROMPTS}.")


def fit_part(table: OutcomeTable) -> OutcomeTable:
    """What a fit goes by: the prompts that the column `split` gives to it, or all."""
    is_fit = table.is_fit()
    return table if is_fit is None else table.take(np.flatnonzero(is_fit))


def lam_origin(fitted: PolicyFit, table: OutcomeTable) -> str:
    """Why its lambda is recommended, in words; `table` is what it was fitted on."""
    single = table.quality.mean(axis=0)
    best = f"{RECOMMENDED_SHARE:.0%} of {table.stages[int(single.argmax())].name}'s quality"
    if table.agreement_with:
        best = f"{RECOMMENDED_SHARE:.0%} agreement with {table.agreement_with}"
    origin = f"the best quality {_WHERE}; no lambda was shown to keep {best}"
    if fitted.margin.max() >= 0:
        origin = f"the least shown, by {NOISE} standard errors, to keep {best} {_WHERE}"
    alone = fitted.policy.alone_at(fitted.recommended_lam)
    if alone is not None:
        origin += (
            f"; {table.stages[alone].name} alone costs no more there and is no worse, so it answers"
        )
    return origin


def _prior(table: OutcomeTable, evidence: TableEvidence, rng: np.random.Generator) -> Prior:
    """One predictor for drafts of any stage, and chances by model size."""
    rows = np.unique(np.linspace(0, len(table.prompt_ids) - 1, _PRIOR_PROMPTS).astype(np.int64))
    table = table.take(rows)
    num_prompts, num_stages = table.quality.shape
    statistics = evidence.features[rows]  # as judge_by_prior sees a draft
    statistics[:, :, len(STATISTIC_NAMES) :] = 0
    statistics[:, :, :NUM_FORMS] = 0
    pooled: PredictorFit = fit_predictor(
        statistics.reshape(num_prompts * num_stages, -1),
        table.quality.ravel(),
        rng=rng,
        groups=np.repeat(evidence.group[rows], num_stages),
        candidates=[c for c in CANDIDATES if c.num_columns == len(STATISTIC_NAMES)],
    )
    sizes = tuple(s.num_parameters / 1e9 or _PRIOR_SIZE for s in table.stages)
    estimates = pooled.estimates.reshape(num_prompts, num_stages)
    tokens_in = _mean(table, "tokens_in") - _mean(table, "num_cached")
    return Prior(
        predictor=pooled.predictor,
        chances=fit_pooled_prior(estimates, table.quality, sizes),
        tokens_in=round(tokens_in),
        tokens_out=round(_mean(table, "tokens_out")),
    )


def _mean(table: OutcomeTable, column: str) -> float:
    """Of what is known; 0 where nothing is."""
    values = table.columns.get(column, np.empty(0)).astype(np.float64)
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else 0.0


def acceptance_of(table: OutcomeTable, forms: Sequence[Form]) -> dict[PairKey, Acceptance]:
    """Acceptance for each pair of stages and form of prompt that was recorded with its tokens."""
    num_prompts, num_stages = table.quality.shape
    return learn_acceptance(
        ((j, k, forms[n]), compared)
        for n, k in np.ndindex(num_prompts, num_stages)
        for j in range(k)
        if (compared := compared_of(table, n, j, k)) is not None
    )


def covered_forms(prompts: Sequence[PromptView]) -> tuple[Form, ...]:
    """The forms of at least MIN_FORM_PROMPTS prompts."""
    counts = Counter(prompt.form for prompt in prompts)
    return tuple(form for form in Form if counts[form] >= MIN_FORM_PROMPTS)


def data_hash(table: OutcomeTable) -> str:
    """Tells a table's prompts, qualities and costs from any other's."""
    digest = hashlib.sha256("\n".join(table.prompt_ids).encode())
    digest.update(table.quality.tobytes() + table.cost.tobytes())
    return digest.hexdigest()
