"""A fit with a promise: prompts that it set aside show which dials keep it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from adaptive_sd.artifact import Artifact
from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.certificates import Certificate, Certificates
from adaptive_sd.decision.claims import (
    Claim,
    FastEnough,
    KeptQuality,
    MeanCost,
    Trial,
    certify,
    shown_in_turn,
)
from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.guarded import GuardedPolicy
from adaptive_sd.decision.policy_fit import PolicyFit, with_safest
from adaptive_sd.errors import DataError
from adaptive_sd.forms import Form
from adaptive_sd.offline.evidence import prompt_views
from adaptive_sd.offline.fit import (
    MIN_FORM_PROMPTS,
    MIN_PROMPTS,
    covered_forms,
    data_hash,
    fit_ladder,
    fit_part,
    to_artifact,
)
from adaptive_sd.offline.fit_report import FitReport
from adaptive_sd.offline.promise import Promise, promise_of, refusal, shown_by
from adaptive_sd.offline.prompts import hashes_of
from adaptive_sd.offline.replay.halves import see
from adaptive_sd.offline.trials import (
    SET_ASIDE,
    choose_dials,
    in_seconds,
    most_cost,
    set_aside,
    try_dials,
)

MIN_CERTIFIED = math.ceil(MIN_PROMPTS / (1 - SET_ASIDE))
TARGETS = tuple(KeptQuality(percent / 100) for percent in range(50, 101))
"""What every certified fit tries, from the easiest on."""
_NUM_BUDGETS = 20


class CertifiedFit(NamedTuple):
    """`report` is of the prompts fitted on, `promise` of those set aside."""

    artifact: Artifact
    report: FitReport
    promise: Promise


def fit_certified(
    table: OutcomeTable,
    claim: Claim,
    *,
    confidence: float,
    max_cost: float | None = None,
    seed: int = 0,
) -> CertifiedFit:
    """As `fit_artifact`, on 70 % of the prompts; the dial is the one shown to keep the claim.

    No prompt is taken to cost more than `max_cost`, by default than the dearest in the table if
    every stage runs on it. Deterministic for a seed. Raises DataError for too few prompts, and
    where no dial is shown to keep the claim.
    """
    whole = fit_part(table)
    if len(whole.prompt_ids) < MIN_CERTIFIED:
        raise DataError(
            f"{len(whole.prompt_ids)} graded prompts; a fit with a promise needs at least "
            f"{MIN_CERTIFIED}, of which {SET_ASIDE:.0%} are set aside."
        )
    with threadpool_limits(limits=1):
        used, aside = set_aside(whole, seed=seed)
        ladder = fit_ladder(used, seed=seed)
        safe = with_safest(ladder.policy, ladder.seen)
        lams = choose_dials(safe, ladder.seen)
        most, level = most_cost(whole, max_cost), 1 - confidence
        trials = _Trials(safe.policy, lams, most, timed=isinstance(claim, FastEnough))
        aside = _of_forms(aside, covered_forms(ladder.evidence.prompts))
        predictors = [fit.predictor for fit in ladder.predictors]
        trial = trials.of(aside, see(aside, predictors, ladder.projections))
        certificates = Certificates(
            confidence=confidence,
            num_prompts=trial.num_prompts,
            max_cost=most,
            qualities=_shown(TARGETS, claim, trial, lams, level),
            budgets=_shown(_budgets(safe, lams), claim, trial, lams, level),
        )
        found = certify(claim, trial, level)
        if found.last is None:
            known = trial.plus(trials.of(used, ladder.seen))
            raise DataError(refusal(claim, certificates, known))
        origin = f"{claim}; {shown_by(certificates)}"
        fitted = safe._replace(recommended_lam=lams[found.last])
        artifact, report = to_artifact(ladder, fitted, origin)
    artifact = replace(
        artifact,
        certificates=certificates,
        prompt_hashes=hashes_of(whole),  # those set aside had a say too
        data_hash=data_hash(whole),
    )
    promise = promise_of(claim, certificates, trial, found, lams, artifact)
    return CertifiedFit(artifact, report, promise)


def _of_forms(table: OutcomeTable, forms: Sequence[Form]) -> OutcomeTable:
    """On prompts of other forms the largest stage answers, uncalibrated: nothing is promised."""
    rows = [n for n, prompt in enumerate(prompt_views(table)) if prompt.form in forms]
    if not rows:
        raise DataError(
            f"no form of prompt came {MIN_FORM_PROMPTS} times to fit on; record more prompts."
        )
    return table.take(np.array(rows))


class _Trials(NamedTuple):
    """All dials on prompts of one table; `timed` where the claim speaks of seconds."""

    policy: GuardedPolicy
    lams: Sequence[float]
    max_cost: float
    timed: bool

    def of(self, table: OutcomeTable, seen: FitTable) -> Trial:
        timed = in_seconds(table, seen) if self.timed else None
        if self.timed and timed is None:
            raise DataError(
                "the table has no whole column 'latency_s', and its costs are not known to be "
                "seconds; a promised latency needs one."
            )
        return try_dials(self.policy, seen, self.lams, max_cost=self.max_cost, timed=timed)


def _budgets(fitted: PolicyFit, lams: Sequence[float]) -> list[MeanCost]:
    """From the easiest on: even steps in the logarithm over what dials cost, as the fit saw it."""
    least, most = (max(fitted.seen_at(lam).cost, 1e-9) for lam in (lams[0], lams[-1]))
    steps = np.geomspace(1.5 * most, least, _NUM_BUDGETS).tolist()
    return [MeanCost(float(f"{step:.3g}")) for step in steps]


def _shown(
    claims: Sequence[Claim], asked: Claim, trial: Trial, lams: Sequence[float], level: float
) -> tuple[Certificate, ...]:
    """Of the claims those shown in turn; what is asked is shown or not by itself, if of a kind."""
    tried = shown_in_turn(claims, trial, level)
    tried += [asked] if isinstance(asked, type(claims[0])) else []
    dials = [(claim, certify(claim, trial, level).last) for claim in tried]
    return tuple(sorted({Certificate(c.bound, lams[d]) for c, d in dials if d is not None}))
