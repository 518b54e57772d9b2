"""Whether the prompts are still those of the fit, by first drafts: anytime-valid.

Wasserman, Ramdas and Balakrishnan, "Universal inference" (PNAS 117, 2020, arXiv 1912.11436),
section 8, for the process; Ville's inequality for the false-alarm rate over the whole stream.
"""

from __future__ import annotations

import bisect
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

ALARM_RATE = 0.01
"""Chance of ever an alarm while nothing changes."""
BASELINE = 300
"""First drafts that stand for the fit's where an artifact has no reference at a lambda."""

_NUM_BINS = 5
_BLOCK = 100
"""A change is looked for at the beginning of every so manyth draft."""
_NUM_BLOCKS = 50
_LOOK_EVERY = 10

Counts = tuple[int, ...]


class First(NamedTuple):
    """The first draft of a prompt, as the fit alone judges it and would go on.

    `quality` is its predictor's; None where it was abandoned.
    """

    stage: int
    quality: float | None
    escalates: bool


@dataclass(frozen=True, slots=True)
class Reference:
    """First drafts of `num_firsts` prompts at one lambda: how often policies went on, and scores.

    `edges` are quantiles of the scores of each stage that begins; `scores` counts its bins, the
    last for abandoned drafts; all that never happened is one more kind.
    """

    lam: float
    num_firsts: int
    num_escalated: int
    edges: dict[int, tuple[float, ...]]
    scores: dict[int, Counts]

    @classmethod
    def of(cls, firsts: Sequence[First], lam: float) -> Self:
        edges, scores = {}, {}
        for stage in sorted({first.stage for first in firsts}):
            own = [first.quality for first in firsts if first.stage == stage]
            known = [quality for quality in own if quality is not None]
            cuts = np.linspace(0, 1, _NUM_BINS + 1)[1:-1]
            edges[stage] = tuple(np.unique(np.quantile(known, cuts)).tolist()) if known else ()
            bins = Counter(_bin(edges[stage], quality) for quality in own)
            scores[stage] = tuple(bins[place] for place in range(len(edges[stage]) + 2))
        return cls(lam, len(firsts), sum(f.escalates for f in firsts), edges, scores)

    @property
    def escalation_rate(self) -> float:
        return self.num_escalated / self.num_firsts

    @property
    def kinds(self) -> tuple[tuple[int, int], ...]:
        """Stage and bin, of what happened."""
        return tuple(
            (stage, place)
            for stage, counts in self.scores.items()
            for place, count in enumerate(counts)
            if count
        )

    def kind_of(self, first: First) -> tuple[int, int]:
        return first.stage, _bin(self.edges.get(first.stage, ()), first.quality)

    def to_json(self) -> dict[str, object]:
        return {
            "lambda": self.lam,
            "num_firsts": self.num_firsts,
            "num_escalated": self.num_escalated,
            "edges": [[stage, list(edges)] for stage, edges in self.edges.items()],
            "scores": [[stage, list(counts)] for stage, counts in self.scores.items()],
        }

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Self:
        """Raises KeyError, TypeError and ValueError for what `to_json` did not write."""
        read = cls(
            float(raw["lambda"]),
            int(raw["num_firsts"]),
            int(raw["num_escalated"]),
            {int(stage): tuple(map(float, edges)) for stage, edges in raw["edges"]},
            {int(stage): tuple(map(int, counts)) for stage, counts in raw["scores"]},
        )
        counted = [count for counts in read.scores.values() for count in counts]
        if min(counted) < 0 or not 0 <= read.num_escalated <= sum(counted) == read.num_firsts:
            raise ValueError(f"a reference of {read.num_firsts} first drafts counts {counted}")
        return read


def _bin(edges: Sequence[float], quality: float | None) -> int:
    """The last is of abandoned drafts."""
    return len(edges) + 1 if quality is None else bisect.bisect_right(edges, quality)


class ChangeTest:
    """Of kinds that come one at a time: have they the chances of a sample that was seen before?

    The evidence against it is the mean, over when they may have changed, of the probability of
    sample and stream where chances before and after are drawn anew (Dirichlet, 1/2 each), over the
    highest probability that any chances give to both. Where nothing changes that is below a
    martingale which begins at 1, whatever the chances are: that they are known from a sample only
    is allowed for, as it is in the highest probability too.
    """

    def __init__(self, sample: Sequence[int]) -> None:
        self._sample = np.array(sample, dtype=np.int64)
        self._seen = np.zeros_like(self._sample)
        self.num_seen = 0
        self._before = self._seen[None].copy()  # (num_changes, num_kinds), ascending
        """What was seen before each change that is looked for: at the start, and lately."""

    def add(self, kind: int) -> None:
        if self.num_seen % _BLOCK == 0 and self.num_seen:
            kept = self._before[max(1, len(self._before) - _NUM_BLOCKS) :]
            self._before = np.concatenate([self._before[:1], kept, self._seen[None]])
        self._seen[kind] += 1
        self.num_seen += 1

    def log_evidence(self) -> tuple[float, int]:
        """Natural logarithm, and the likeliest change, as its place among those looked for."""
        both = (self._sample + self._seen)[self._sample + self._seen > 0]
        highest = float(both @ np.log(both / both.sum()))
        num_before = self._before.sum(axis=1)
        block = num_before // _BLOCK
        terms = _log_drawn(self._sample + self._before) + _log_drawn(self._seen - self._before)
        terms -= np.log((block + 1) * (block + 2))  # the chances of each change add up to 1
        return float(np.logaddexp.reduce(terms)) - highest, int(terms.argmax())

    def since(self, change: int) -> NDArray[np.int64]:
        """How often each kind has come since."""
        came: NDArray[np.int64] = self._seen - self._before[change]
        return came


def _log_drawn(counts: NDArray[np.int64]) -> FloatArray:
    """Log-probability of sequences of these counts whose chances are Dirichlet, 1/2 each.

    (num_sequences, num_kinds) to (num_sequences,).
    """
    num_drawn = counts.sum(axis=1)
    size = 1 << int(num_drawn.max()).bit_length()
    each = _log_rising(0.5, size)[counts].sum(axis=1)
    drawn: FloatArray = each - _log_rising(0.5 * counts.shape[1], size)[num_drawn]
    return drawn


@lru_cache(maxsize=16)
def _log_rising(start: float, size: int) -> FloatArray:
    """Logarithms of start * (start + 1) * ..., of 0 to `size` - 1 factors."""
    return np.concatenate([[0.0], np.cumsum(np.log(start + np.arange(size - 1)))])


class Alarm(NamedTuple):
    """Raised after `num_seen` first drafts; the change is likeliest after `num_before`."""

    num_seen: int
    num_before: int
    escalation_rate: float
    reference_rate: float


class DriftWatch:
    """Escalations and scores of first drafts against a reference; the mean of both evidences.

    An alarm is given once, with a chance of at most ALARM_RATE ever while prompts are as those of
    the reference. Without one the first BASELINE drafts become it.
    """

    def __init__(self, reference: Reference | None, lam: float) -> None:
        self.lam = lam
        self.alarm: Alarm | None = None
        self._firsts: list[First] = []
        self._compare(reference)

    def _compare(self, reference: Reference | None) -> None:
        self.reference = reference
        if reference is None:
            return
        self._kinds = {kind: place for place, kind in enumerate(reference.kinds)}
        counts = [reference.scores[stage][place] for stage, place in reference.kinds]
        self._scores = ChangeTest([*counts, 0])
        num_escalated = reference.num_escalated
        self._escalated = ChangeTest([reference.num_firsts - num_escalated, num_escalated])

    def add(self, first: First) -> None:
        if self.alarm is not None:
            return
        if self.reference is None:
            self._firsts.append(first)
            if len(self._firsts) == BASELINE:
                self._compare(Reference.of(self._firsts, self.lam))
            return
        self._escalated.add(int(first.escalates))
        self._scores.add(self._kinds.get(self.reference.kind_of(first), len(self._kinds)))
        if self._scores.num_seen % _LOOK_EVERY == 0:
            self._look(self.reference)

    def _look(self, reference: Reference) -> None:
        found = self._escalated.log_evidence(), self._scores.log_evidence()
        log_mean = float(np.logaddexp(found[0][0], found[1][0])) - math.log(2)
        if log_mean < -math.log(ALARM_RATE):
            return
        num_stopped, num_escalated = self._escalated.since(max(found)[1]).tolist()
        num_since = num_stopped + num_escalated
        self.alarm = Alarm(
            self._escalated.num_seen,
            self._escalated.num_seen - num_since,
            num_escalated / num_since,
            reference.escalation_rate,
        )
