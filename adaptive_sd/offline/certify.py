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
from adaptive_sd.decision.alone import with_safest
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
from adaptive_sd.decision.policy_fit import PolicyFit
from adaptive_sd.errors import DataError
from adaptive_sd.forms import Form
from adaptive_sd.offline.answers import prompt_views
from adaptive_sd.offline.fit import (
    MIN_FORM_PROMPTS,
    MIN_PROMPTS,
    LadderFit,
    check_enough,
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
    timed = isinstance(claim, FastEnough)
    with threadpool_limits(limits=1):
        tried = _try(whole, max_cost=max_cost, timed=timed, seed=seed)
        trial, lams = tried.trial, tried.trials.lams
        certificates = tried.certificates(confidence, claim)
        found = certify(claim, trial, 1 - confidence)
        if found.last is None:
            known = trial.plus(tried.trials.of(tried.ladder.table, tried.ladder.seen))
            raise DataError(refusal(claim, certificates, known))
        origin = f"{claim}; {shown_by(certificates)}"
        fitted = tried.safe._replace(recommended_lam=lams[found.last])
        artifact, report = to_artifact(tried.ladder, fitted, origin)
    artifact = replace(
        artifact,
        certificates=certificates,
        prompt_hashes=hashes_of(whole),  # those set aside had a say too
        data_hash=data_hash(whole),
    )
    promise = promise_of(claim, certificates, trial, found, lams, artifact)
    return CertifiedFit(artifact, report, promise)


def certifiable(table: OutcomeTable, *, confidence: float, seed: int = 0) -> Certificates:
    """What `fit_certified` would certify, whatever is claimed. Raises DataError for too few."""
    with threadpool_limits(limits=1):
        tried = _try(fit_part(table), max_cost=None, timed=False, seed=seed)
        return tried.certificates(confidence)


class _Tried(NamedTuple):
    """A fit on 70 % of the prompts, and its dials on the others; `safe` is its policy."""

    ladder: LadderFit
    safe: PolicyFit
    trials: _Trials
    trial: Trial

    def certificates(self, confidence: float, claim: Claim | None = None) -> Certificates:
        """Of what is tried from the easiest on, and of the claim by itself."""
        lams, level = self.trials.lams, 1 - confidence
        return Certificates(
            confidence=confidence,
            num_prompts=self.trial.num_prompts,
            max_cost=self.trials.max_cost,
            qualities=_shown(TARGETS, claim, self.trial, lams, level),
            budgets=_shown(_budgets(self.safe, lams), claim, self.trial, lams, level),
            agreement_with=self.ladder.table.agreement_with,
        )


def _try(whole: OutcomeTable, *, max_cost: float | None, timed: bool, seed: int) -> _Tried:
    if len(whole.prompt_ids) < MIN_CERTIFIED:
        raise DataError(
            f"{len(whole.prompt_ids)} graded prompts; a fit with a promise needs at least "
            f"{MIN_CERTIFIED}, of which {SET_ASIDE:.0%} are set aside."
        )
    used, aside = set_aside(whole, seed=seed)
    check_enough(used)
    ladder = fit_ladder(used, seed=seed)
    safe = with_safest(ladder.policy, ladder.seen)
    lams = choose_dials(safe, ladder.seen)
    trials = _Trials(safe.policy, lams, most_cost(whole, max_cost), timed)
    aside = _of_forms(aside, covered_forms(ladder.evidence.prompts))
    predictors = [fit.predictor for fit in ladder.predictors]
    return _Tried(
        ladder, safe, trials, trials.of(aside, see(aside, predictors, ladder.projections))
    )


def _of_forms(table: OutcomeTable, forms: Sequence[Form]) -> OutcomeTable:
    """On prompts of other forms the last stage answers, uncalibrated: nothing is promised."""
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
    claims: Sequence[Claim], asked: Claim | None, trial: Trial, lams: Sequence[float], level: float
) -> tuple[Certificate, ...]:
    """Of the claims those shown in turn; what is asked is shown or not by itself, if of a kind."""
    tried = shown_in_turn(claims, trial, level)
    tried += [asked] if isinstance(asked, type(claims[0])) else []
    dials = [(claim, certify(claim, trial, level).last) for claim in tried]
    return tuple(sorted({Certificate(c.bound, lams[d]) for c, d in dials if d is not None}))
