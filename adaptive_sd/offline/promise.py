"""What a fit promises, or why it cannot, in numbers and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from adaptive_sd.artifact import Artifact
from adaptive_sd.decision.certificates import ASSUMED, Certificates
from adaptive_sd.decision.claims import Claim, Trial, num_needed
from adaptive_sd.decision.guarantee import Walk
from adaptive_sd.offline.trials import SET_ASIDE

_TOLD = (0.8, 0.9, 0.95, 0.98, 0.99, 1.0)
"""Shares of quality whose price is told in words."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What is promised of the recommended lambda.

    Quality and cost are means on the prompts set aside, cost as a share of that of always asking
    `best_stage`. `next_share` and `next_needed`: what the first dial that was not shown to keep
    the promise costs there, and how many graded prompts would show it. `prices` are the cost
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
        quality = "agreement" if known.agreement_with else "quality"
        alone = "" if known.agreement_with else f", whose quality is {self.best_quality:.3f}"
        lines = [
            f"promised: {self.claim}; {shown_by(known)}",
            f"  there: {quality} {self.quality:.3f} at {self.cost_share:.2f} of the cost of always "
            f"{self.best_stage}{alone}",
            f"  {_extremes(known)}",
        ]
        if told := [f"{b:g} at {self.prices[b]:.2f}" for b in _TOLD if b in self.prices]:
            of_what = quality if known.agreement_with else "shares of quality"
            lines.append(f"  {of_what}, each certified by itself: {', '.join(told)}")
        if self.next_share is not None and self.next_needed is not None:
            lines.append(
                f"  at {self.next_share:.2f} of the cost it would be shown with about "
                f"{self.next_needed:,} {_prompts(known)}"
            )
        return "\n".join(
            [
                *lines,
                f"  assumed: {ASSUMED}; for a mean cost, that none costs more than "
                f"{known.max_cost:.4g}",
            ]
        )


def refusal(claim: Claim, known: Certificates, graded: Trial) -> str:
    """What the dial that keeps it most safely would take, by all graded prompts.

    At least twice as many as there are, since these do not show it.
    """
    safest = next(iter(claim.order(len(graded.alone))))
    needed = _num_graded(num_needed(claim, graded, safest, 1 - known.confidence))
    takes = "no number of prompts like these would show it"
    if needed is not None:
        needed = max(needed, 2 * graded.num_prompts)
        takes = f"it would take about {needed:,} {_prompts(known)} to fit on and to set aside"
    return (
        f"{claim} cannot be promised at {known.confidence:.4g} confidence by "
        f"{known.num_prompts} prompts set aside: {takes}. {_extremes(known)}."
    )


def _num_graded(num_aside: int | None) -> int | None:
    """Of which SET_ASIDE are to be that many; two digits, since it is about as many."""
    return None if num_aside is None else int(float(f"{num_aside / SET_ASIDE:.2g}"))


def shown_by(known: Certificates) -> str:
    return f"shown by {known.num_prompts} prompts set aside, at {known.confidence:.4g} confidence"


def _extremes(known: Certificates) -> str:
    highest = "The highest share of the best single stage's quality"
    if known.agreement_with:
        highest = f"The highest agreement with {known.agreement_with}"
    return f"{highest} that can be certified: {known.highest}; the least mean cost: {known.least}"


def _prompts(known: Certificates) -> str:
    return "prompts" if known.agreement_with else "graded prompts"


def promise_of(
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
