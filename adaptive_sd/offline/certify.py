"""A fit with a promise: prompts that it set aside show which dials keep it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from adaptive_sd.artifact import Artifact
from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.certificates import ASSUMED, Certificate, Certificates
from adaptive_sd.decision.claims import (
    Claim,
    FastEnough,
    KeptQuality,
    MeanCost,
    Trial,
    certify,
    num_needed,
    shown_in_turn,
)
from adaptive_sd.decision.guarantee import Walk
from adaptive_sd.decision.guarded import GuardedPolicy
from adaptive_sd.decision.induction import FitTable
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
from adaptive_sd.offline.prompts import draw_prompts, hashes_of, one_of_each
from adaptive_sd.offline.replay.halves import see
from adaptive_sd.offline.trials import choose_dials, in_seconds, most_cost, try_dials

SET_ASIDE = 0.3
"""Of the texts to fit on: they only test."""
MIN_CERTIFIED = math.ceil(MIN_PROMPTS / (1 - SET_ASIDE))
TARGETS = tuple(KeptQuality(percent / 100) for percent in range(50, 101))
"""What every certified fit tries, from the easiest on."""
_NUM_BUDGETS = 20
_TOLD = (0.8, 0.9, 0.95, 0.98, 0.99, 1.0)
"""Shares of quality whose price is told in words."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What is promised of the recommended lambda.

    Quality and cost are means on the prompts set aside, cost as a share of that of always asking
    `best_stage`. `next_share` and `next_needed`: what the first dial that was not shown to keep
    the promise costs there, and how many graded prompts might show it. `prices` are the cost
    shares of the certified shares of quality.
    """

    claim: str
    certificates: Certificates
    lam: float
    best_stage: str
    best_quality: float
    quality: float
    cost_share: float
    next_share: float | None
    next_needed: int | None
    prices: Mapping[float, float]

    def to_json(self) -> dict[str, object]:
        return {
            "claim": self.claim,
            "lambda": self.lam,
            "best_stage": self.best_stage,
            "best_quality": self.best_quality,
            "quality": self.quality,
            "cost_share": self.cost_share,
            "next_cost_share": self.next_share,
            "next_num_needed": self.next_needed,
            "prices": [list(price) for price in self.prices.items()],
            **self.certificates.to_json(),
        }

    def as_text(self) -> str:
        known = self.certificates
        lines = [
            f"promised: {self.claim}; {_shown_by(known)}",
            f"  there: quality {self.quality:.3f} at {self.cost_share:.2f} of the cost of always "
            f"{self.best_stage}, whose quality is {self.best_quality:.3f}",
            f"  {_extremes(known)}",
        ]
        if told := [f"{b:g} at {self.prices[b]:.2f}" for b in _TOLD if b in self.prices]:
            lines.append(f"  shares of quality, each certified by itself: {', '.join(told)}")
        if self.next_share is not None and self.next_needed is not None:
            lines.append(
                f"  at {self.next_share:.2f} of the cost it might be shown with about "
                f"{self.next_needed:,} graded prompts"
            )
        return "\n".join(
            [
                *lines,
                f"  assumed: {ASSUMED}; for a mean cost, that none costs more than "
                f"{known.max_cost:.4g}",
            ]
        )


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
            raise DataError(_refusal(claim, certificates, trials.of(used, ladder.seen)))
        origin = f"{claim}; {_shown_by(certificates)}"
        fitted = safe._replace(recommended_lam=lams[found.last])
        artifact, report = to_artifact(ladder, fitted, origin)
    artifact = replace(
        artifact,
        certificates=certificates,
        prompt_hashes=hashes_of(whole),  # those set aside had a say too
        data_hash=data_hash(whole),
    )
    promise = _promise(claim, certificates, trial, found, lams, artifact)
    return CertifiedFit(artifact, report, promise)


def set_aside(table: OutcomeTable, *, seed: int) -> tuple[OutcomeTable, OutcomeTable]:
    """The prompts to fit on, and one of each of the SET_ASIDE other texts, to test on."""
    rng = np.random.default_rng([seed, 8])  # apart from the fit's draws
    is_aside = draw_prompts(table, SET_ASIDE, rng=rng)
    aside = table.take(np.flatnonzero(is_aside))
    return table.take(np.flatnonzero(~is_aside)), one_of_each(aside, rng=rng)


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


def _refusal(claim: Claim, known: Certificates, on_fit: Trial) -> str:
    """What the dial that keeps it most safely would take, by the prompts fitted on."""
    safest = next(iter(claim.order(len(on_fit.alone))))
    graded = _num_graded(num_needed(claim, on_fit, safest, 1 - known.confidence))
    takes = "no number of prompts like these would show it"
    if graded is not None:
        takes = f"it would take about {graded:,} graded prompts to fit on and to set aside"
    return (
        f"{claim} cannot be promised at {known.confidence:.4g} confidence by "
        f"{known.num_prompts} prompts set aside: {takes}. {_extremes(known)}."
    )


def _num_graded(num_aside: int | None) -> int | None:
    """Of which SET_ASIDE are to be that many."""
    return None if num_aside is None else math.ceil(num_aside / SET_ASIDE)


def _shown_by(known: Certificates) -> str:
    return f"shown by {known.num_prompts} prompts set aside, at {known.confidence:.4g} confidence"


def _extremes(known: Certificates) -> str:
    return (
        f"The highest share of the best single stage's quality that can be certified: "
        f"{known.highest}; the least mean cost: {known.least}"
    )


def _promise(
    claim: Claim,
    known: Certificates,
    trial: Trial,
    found: Walk[int],
    lams: Sequence[float],
    artifact: Artifact,
) -> Promise:
    assert found.last is not None and trial.alone[-1] is not None
    best, shares = trial.alone[-1], trial.cost.mean(axis=0) / trial.cost[:, -1].mean()
    level, after = 1 - known.confidence, found.ended_at
    return Promise(
        claim=str(claim),
        certificates=known,
        lam=artifact.recommended_lam,
        best_stage=artifact.stages[best].name,
        best_quality=float(trial.single[:, best].mean()),
        quality=float(trial.quality[:, found.last].mean()),
        cost_share=float(shares[found.last]),
        next_share=None if after is None else float(shares[after]),
        next_needed=None if after is None else _num_graded(num_needed(claim, trial, after, level)),
        prices={bound: float(shares[lams.index(lam)]) for bound, lam in known.qualities},
    )
