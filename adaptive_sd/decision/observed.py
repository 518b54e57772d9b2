"""What an online ladder keeps of an answer: numbers that labels are made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Self

from adaptive_sd.decision.drift import First
from adaptive_sd.decision.recalibration import AGREEMENT_WEIGHT, Label

MIN_PROPENSITY = 0.001
"""Below it one label would count as many that were told."""
_MAX_ODDS = 100.0


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
    propensity: float


@dataclass(frozen=True, slots=True)
class Observed:
    """`first` is None where the answer says nothing of drift, `returned` where it abstained."""

    lam: float
    explored: bool
    first: First | None
    returned: Estimate | None
    compared: tuple[Compared, ...]

    def told(self, good: bool) -> Iterator[Label]:
        """Of the draft that was returned."""
        if self.returned is not None:
            yield Label(*self.returned, float(good), 1.0, told=True)

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
    def from_json(cls, raw: dict[str, Any], num_stages: int) -> Self:
        """Raises KeyError, TypeError and ValueError for what `to_json` did not write."""
        first, returned = raw["first"], raw["returned"]
        return cls(
            _number(raw["lam"], 0, float("inf")),
            _bool(raw["explored"]),
            None if first is None else _first(*first, num_stages=num_stages),
            None if returned is None else _estimate(*returned, num_stages=num_stages),
            tuple(_compared(*draft, num_stages=num_stages) for draft in raw["compared"]),
        )


def _first(stage: object, quality: object, escalates: object, *, num_stages: int) -> First:
    known = None if quality is None else _number(quality, 0, 1)
    return First(_stage(stage, num_stages), known, _bool(escalates))


def _estimate(stage: object, odds: object, offset: object, *, num_stages: int) -> Estimate:
    both = (_number(value, -_MAX_ODDS, _MAX_ODDS) for value in (odds, offset))
    return Estimate(_stage(stage, num_stages), *both)


def _compared(
    estimate: list[object], later_quality: object, propensity: object, *, num_stages: int
) -> Compared:
    return Compared(
        _estimate(*estimate, num_stages=num_stages),
        _number(later_quality, 0, 1),
        _number(propensity, MIN_PROPENSITY, 1),
    )


def _stage(value: object, num_stages: int) -> int:
    if type(value) is not int or not 0 <= value < num_stages:
        raise ValueError(f"{value!r} is none of {num_stages} stages")
    return value


def _number(value: object, low: float, high: float) -> float:
    if type(value) not in (int, float) or not low <= value <= high:  # type: ignore[operator]
        raise ValueError(f"{value!r} is no number from {low:g} to {high:g}")
    return value  # type: ignore[return-value]


def _bool(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")
    return value
