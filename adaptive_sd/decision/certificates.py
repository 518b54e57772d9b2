"""What a fit showed about its dials on prompts set aside, and which dial that is for a target."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Self

from adaptive_sd.errors import ArtifactError

ASSUMED = (
    "prompts to come are exchangeable with those set aside, all independent draws of the same "
    "traffic (equal texts counted once), of the forms that the fit knows, and asked as these were"
)


def share_of_quality(share: float, agreement_with: str | None) -> str:
    """What is promised of quality, in words; with whom answers agree where that is quality."""
    if agreement_with:  # of which that stage itself has 1
        return f"{share:.4g} agreement with {agreement_with}"
    return f"{share:.4g} of the best single stage's quality"


class Certificate(NamedTuple):
    """At the lambda `lam` a bound is kept: a share of quality, or a mean cost."""

    bound: float
    lam: float


@dataclass(frozen=True, slots=True)
class Certificates:
    """For each bound the dial most worth having that was shown to keep it; bounds ascend.

    Each by itself is wrong with a chance of at most 1 - `confidence`, not all of them together, if
    prompts to come are exchangeable with the `num_prompts` that were set aside, each of another
    text, and, for `budgets`, none costs more than `max_cost`. `qualities` are shares of the best
    single stage's quality: where quality is agreement with the stage `agreement_with`, agreement.
    """

    confidence: float
    num_prompts: int
    max_cost: float
    qualities: tuple[Certificate, ...]
    budgets: tuple[Certificate, ...]
    agreement_with: str | None = None

    def for_quality(self, target: float) -> Certificate:
        """Of the least share that is not below `target`; raises ArtifactError."""
        found = next((c for c in self.qualities if c.bound >= target), None)
        if found is None:
            raise ArtifactError(
                f"{share_of_quality(target, self.agreement_with)} is not certified for this "
                f"ladder; the highest that is: {self.highest}. {self._more}."
            )
        return found

    def for_budget(self, budget: float) -> Certificate:
        """Of the largest mean cost that is not above `budget`; raises ArtifactError."""
        found = next((c for c in reversed(self.budgets) if c.bound <= budget), None)
        if found is None:
            raise ArtifactError(
                f"a mean cost of {budget:g} is not certified for this ladder; the least that is: "
                f"{self.least}. `adaptive-sd fit TABLE --out FOLDER --budget B` certifies others."
            )
        return found

    def promised(self, lam: float) -> str:
        """The strictest bounds that this lambda was shown to keep, in words."""
        shares = [c.bound for c in self.qualities if c.lam == lam]
        costs = [c.bound for c in self.budgets if c.lam == lam]
        found = [share_of_quality(max(shares), self.agreement_with)] if shares else []
        found += [f"a mean cost of at most {min(costs):.4g}"] if costs else []
        return f"certified for {', '.join(found)}" if found else "given"

    @property
    def _more(self) -> str:
        if self.agreement_with:
            return (
                "More prompts show more: `adaptive-sd calibrate PROMPTS --out FOLDER "
                "--target-quality Q`"
            )
        return (
            "More graded prompts show more: `adaptive-sd fit TABLE --out FOLDER --target-quality Q`"
        )

    @property
    def highest(self) -> str:
        """Of the certified shares of quality, in words."""
        return f"{self.qualities[-1].bound:.4g}" if self.qualities else "none"

    @property
    def least(self) -> str:
        """Of the certified mean costs, in words."""
        return f"{self.budgets[0].bound:.4g}" if self.budgets else "none"

    def to_json(self) -> dict[str, object]:
        return asdict(self) | {
            "qualities": [list(c) for c in self.qualities],
            "budgets": [list(c) for c in self.budgets],
            "assumed": ASSUMED,
        }

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Self:
        """Raises KeyError, TypeError and ValueError for what `to_json` did not write."""
        return cls(
            confidence=float(raw["confidence"]),
            num_prompts=int(raw["num_prompts"]),
            max_cost=float(raw["max_cost"]),
            qualities=_certificates(raw["qualities"]),
            budgets=_certificates(raw["budgets"]),
            agreement_with=raw.get("agreement_with"),
        )


def _certificates(raw: Iterable[Iterable[float]]) -> tuple[Certificate, ...]:
    return tuple(Certificate(float(bound), float(lam)) for bound, lam in raw)
