"""What few prompts show beyond chance: finite-sample tests, and a walk that makes many of them.

The test of a mean bets on it: Waudby-Smith and Ramdas, "Estimating means of bounded random
variables by betting" (JRSS B 86, 2024, arXiv 2010.09686), the capital process of one side with
their predictable plug-in bets for a known number of observations. The walk is the fixed-sequence
testing of Angelopoulos et al., "Learn then test" (arXiv 2110.01052, section 3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, norm

FloatArray = NDArray[np.float64]
T = TypeVar("T")

_MOST_AT_STAKE = 0.75
"""Of the capital in one bet, so that no observation ruins it."""
_BETS = np.geomspace(1e-4, 1, 200) * _MOST_AT_STAKE
_SURE = 0.9
_SURE_UNITS = norm.ppf(_SURE)
_SIZES = np.unique(np.geomspace(1, 1e7, 2000).astype(np.int64))


class SampleTest(Protocol):
    """Of one statement about the prompts to come, from some that are exchangeable with them."""

    @property
    def holds(self) -> bool:
        """Whether the statement is true where these prompts are all there are."""

    def shown(self, level: float) -> bool:
        """Whether it is accepted; where it is false, that happens with a chance of `level`."""

    def num_needed(self, level: float) -> int | None:
        """About how many prompts like these are as good as sure to show it; None: no number."""


@dataclass(frozen=True, slots=True, eq=False)
class MeanTest:
    """E[value] >= 0, for values that lie in [-least, most].

    A gambler who may lose at most all of a stake bets that values are above 0. Where E[value] < 0
    the capital is a supermartingale, which ever reaches 1 / level with a chance of at most `level`
    (Ville): so its maximum over the prompts counts, in the order in which they come.
    """

    values: FloatArray  # (num_prompts,), in an order that tells nothing
    least: float
    most: float

    @property
    def holds(self) -> bool:
        return float(self.values.mean()) >= -1e-12

    def shown(self, level: float) -> bool:
        if self.least <= 0:
            return True
        return float(self.log_capital(level).max(initial=0.0)) >= -math.log(level)

    def log_capital(self, level: float) -> FloatArray:
        """After each prompt, of a gambler who knows how many there will be.

        A bet goes by the values before it: sqrt(2 log(1 / level) / (number * variance)), which
        grows fastest where the number just suffices; the variance begins at the largest there is.
        """
        count = np.arange(1, len(self.values) + 1)
        mean = np.cumsum(self.values) / (count + 1)
        largest = ((self.least + self.most) / 2) ** 2
        squares = largest + np.cumsum((self.values - mean) ** 2)
        variance = np.concatenate([[largest], squares[:-1] / count[1:]])[: len(count)]
        bets = np.sqrt(-2 * math.log(level) / (len(count) * variance))
        return np.cumsum(np.log1p(np.minimum(bets, _MOST_AT_STAKE / self.least) * self.values))

    def num_needed(self, level: float) -> int | None:
        """By the growth of the capital for each of these prompts with the best constant bet.

        Of n prompts it is n * mean, less _SURE_UNITS * sqrt(n) * deviation, and is to be
        log(1 / level).
        """
        if self.least <= 0:
            return 1
        growth = np.log1p(np.outer(_BETS / self.least, self.values))
        mean, deviation = growth.mean(axis=1), growth.std(axis=1)
        grows = mean > 0
        if not grows.any():
            return None
        mean, unsure = mean[grows], _SURE_UNITS * deviation[grows]
        root = (unsure + np.sqrt(unsure**2 - 4 * mean * math.log(level))) / (2 * mean)
        return math.ceil(float(root.min()) ** 2)


@dataclass(frozen=True, slots=True, eq=False)
class ShareTest:
    """P(inside) >= share, by the binomial distribution: a bound on the quantile of order `share`.

    Where the share is smaller, so few prompts outside are less likely than `level`.
    """

    inside: NDArray[np.bool_]  # (num_prompts,)
    share: float

    @property
    def holds(self) -> bool:
        return float(self.inside.mean()) >= self.share - 1e-12

    def shown(self, level: float) -> bool:
        num_outside = int((~self.inside).sum())
        return float(binom.cdf(num_outside, len(self.inside), 1 - self.share)) <= level

    def num_needed(self, level: float) -> int | None:
        """If the chance to be outside is as that of these."""
        num_outside = binom.ppf(_SURE, _SIZES, (~self.inside).mean())
        enough = binom.cdf(num_outside, _SIZES, 1 - self.share) <= level
        return int(_SIZES[enough.argmax()]) if enough.any() else None


class Walk(NamedTuple, Generic[T]):
    """The last step that was shown, and the one that was not."""

    last: T | None
    ended_at: T | None


def walk(steps: Iterable[T], shown: Callable[[T], bool]) -> Walk[T]:
    """Goes on until a step is not shown.

    Their order is fixed before the prompts are looked at, so that each may be tested at the full
    level: a false one is passed only where the first false one is.
    """
    last = None
    for step in steps:
        if not shown(step):
            return Walk(last, step)
        last = step
    return Walk(last, None)
