"""What an online ladder keeps of an answer: numbers that labels are made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Self

from adaptive_sd.decision.drift import First
from adaptive_sd.decision.recalibration import AGREEMENT_WEIGHT, Label


class Estimate(NamedTuple):
    """Of a draft: its predictor's log odds as fitted, and what other evidence adds to them."""

    stage: int
    odds: float
    offset: float


class Compared(NamedTuple):
    """A draft that a larger stage's came after: `later_quality` is the fit's estimate with that.

    `propensity` is the chance that the larger stage was to run, by all that was known before.
    """

    estimate: Estimate
    later_quality: float
    agrees: bool
    propensity: float


@dataclass(frozen=True, slots=True)
class Observed:
    """`first` is None where the answer says nothing of drift."""

    lam: float
    explored: bool
    first: First | None
    returned: Estimate
    compared: tuple[Compared, ...]

    def told(self, good: bool) -> Label:
        """Of the draft that was returned."""
        return Label(*self.returned, float(good), 1.0, told=True)

    def agreements(self) -> Iterator[Label]:
        """Of drafts that a larger stage's came after; what agreement is worth, the fit knows.

        Agreement is not correctness: the label is how likely the draft is right by the policy's
        estimate with both drafts, and counts little.
        """
        for draft in self.compared:
            weight = AGREEMENT_WEIGHT / draft.propensity
            yield Label(*draft.estimate, draft.later_quality, weight)

    def to_json(self) -> dict[str, object]:
        return asdict(self)

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Self:
        """Raises KeyError and TypeError for what `to_json` did not write."""
        first = raw["first"]
        return cls(
            raw["lam"],
            raw["explored"],
            None if first is None else First(*first),
            Estimate(*raw["returned"]),
            tuple(Compared(Estimate(*draft[0]), *draft[1:]) for draft in raw["compared"]),
        )
