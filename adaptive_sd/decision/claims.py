"""What can be promised of a dial: quality kept, mean cost, latency; each with its own test."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.certificates import share_of_quality
from adaptive_sd.decision.guarantee import MeanTest, SampleTest, ShareTest, Walk, walk

FloatArray = NDArray[np.float64]

LATENCY_SHARE = 0.95
"""Of prompts that a promised latency speaks of."""


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """The same prompts at each of a number of dials, the cheapest first, and at each stage alone.

    `latency_s` is nan where it is not known; no prompt, of these or to come, costs more than
    `max_cost`. `alone[d]` is the stage that dial d always answers with, if it is such a dial.
    """

    quality: FloatArray  # (num_prompts, num_dials)
    cost: FloatArray
    latency_s: FloatArray
    single: FloatArray  # (num_prompts, num_stages), the stages' qualities
    alone: tuple[int | None, ...]
    max_cost: float

    @property
    def num_prompts(self) -> int:
        return len(self.quality)

    def take(self, rows: NDArray[np.int64]) -> Trial:
        """Some of the prompts, in the order given."""
        return replace(
            self,
            quality=self.quality[rows],
            cost=self.cost[rows],
            latency_s=self.latency_s[rows],
            single=self.single[rows],
        )

    def plus(self, other: Trial) -> Trial:
        """Its prompts, then another's of the same dials."""
        return replace(
            self,
            quality=np.concatenate([self.quality, other.quality]),
            cost=np.concatenate([self.cost, other.cost]),
            latency_s=np.concatenate([self.latency_s, other.latency_s]),
            single=np.concatenate([self.single, other.single]),
        )


class Claim(Protocol):
    """A promise about the prompts to come, which a dial keeps or not."""

    @property
    def bound(self) -> float:
        """The number that is promised."""

    def tests(self, trial: Trial, dial: int) -> Sequence[SampleTest]:
        """All have to hold. Each is made at the full level: a false one is enough to refuse."""

    def order(self, num_dials: int) -> Iterable[int]:
        """From the dial that keeps it most safely to the one that is most worth having."""


C = TypeVar("C", bound=Claim)


@dataclass(frozen=True, slots=True)
class KeptQuality:
    """At least the share `bound` of each single stage's mean quality: also of the best one's.

    Where quality is agreement with the stage `agreement_with`, of which that one has 1, it is at
    least that agreement.
    """

    bound: float
    agreement_with: str | None = None

    def __str__(self) -> str:
        return share_of_quality(self.bound, self.agreement_with)

    def tests(self, trial: Trial, dial: int) -> list[MeanTest]:
        """Paired differences; what a stage keeps of itself needs no test."""
        others = (k for k in range(trial.single.shape[1]) if k != trial.alone[dial])
        return [
            MeanTest(trial.quality[:, dial] - self.bound * trial.single[:, k], self.bound, 1.0)
            for k in others
        ]

    def order(self, num_dials: int) -> Iterable[int]:
        return reversed(range(num_dials))


@dataclass(frozen=True, slots=True)
class MeanCost:
    """A mean cost of at most `bound`."""

    bound: float

    def __str__(self) -> str:
        return f"a mean cost of at most {self.bound:.4g}"

    def tests(self, trial: Trial, dial: int) -> list[MeanTest]:
        left = self.bound - trial.cost[:, dial]
        return [MeanTest(left, trial.max_cost - self.bound, self.bound)]

    def order(self, num_dials: int) -> Iterable[int]:
        return range(num_dials)


@dataclass(frozen=True, slots=True)
class FastEnough:
    """At most `bound` seconds on LATENCY_SHARE of the prompts."""

    bound: float

    def __str__(self) -> str:
        return f"at most {self.bound:.4g} s on {LATENCY_SHARE:.0%} of the prompts"

    def tests(self, trial: Trial, dial: int) -> list[ShareTest]:
        return [ShareTest(trial.latency_s[:, dial] <= self.bound, LATENCY_SHARE)]

    def order(self, num_dials: int) -> Iterable[int]:
        return range(num_dials)


def certify(claim: Claim, trial: Trial, level: float) -> Walk[int]:
    """The dial most worth having that is shown to keep the claim, and the next one."""
    return walk(claim.order(len(trial.alone)), lambda dial: is_shown(claim, trial, dial, level))


def shown_in_turn(claims: Iterable[C], trial: Trial, level: float) -> list[C]:
    """The claims, from the easiest on, until one is shown of no dial.

    That is a walk too, of the dial that keeps them most safely: so the last claim is no lucky pick.
    """
    num_dials = len(trial.alone)
    return list(
        itertools.takewhile(
            lambda claim: is_shown(claim, trial, next(iter(claim.order(num_dials))), level), claims
        )
    )


def is_shown(claim: Claim, trial: Trial, dial: int, level: float) -> bool:
    return all(test.shown(level) for test in claim.tests(trial, dial))


def is_kept(claim: Claim, trial: Trial, dial: int) -> bool:
    """Whether the claim is true where the trial's prompts are all there are."""
    return all(test.holds for test in claim.tests(trial, dial))


def num_needed(claim: Claim, trial: Trial, dial: int, level: float) -> int | None:
    """About how many prompts like the trial's would show the claim; None: no number of them."""
    needed = [test.num_needed(level) for test in claim.tests(trial, dial)]
    known = [count for count in needed if count is not None]
    return max(known, default=1) if len(known) == len(needed) else None
