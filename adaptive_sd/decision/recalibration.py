"""What feedback says of the stages' estimates: a shift of each stage's log odds, label by label."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.calibration import expected_calibration_error, sigmoid

FloatArray = NDArray[np.float64]
Odds = TypeVar("Odds", float, FloatArray)

AGREEMENT_WEIGHT = 0.02
"""What agreement with a larger stage counts, where being told good or bad counts 1.

At the usual chance of running on, one that was drawn by chance counts about as one that was told.
"""

_PRIOR_MEAN = np.array([0.0, 1.0])
_PRIOR_PRECISION = np.array([2.0, 20.0])
"""Of intercept and slope: no shift is believed as much as about 10 labels would show."""
_KEPT = 0.995
"""Of what is known, with each label told: about the last 200 count."""
_MAX_STEP = 0.1
_MAX_INTERCEPT = 3.0
_SLOPES = (1 / 3, 3.0)


class Shift(NamedTuple):
    """Of a stage's log odds: slope * log odds + intercept."""

    intercept: float = 0.0
    slope: float = 1.0

    def odds(self, odds: Odds) -> Odds:
        """Of one estimate, or of many."""
        return self.slope * odds + self.intercept

    def added(self, odds: Odds) -> Odds:
        """What is added to these."""
        return self.odds(odds) - odds

    def after(self, earlier: Shift) -> Shift:
        """Both in one."""
        return Shift(self.odds(earlier.intercept), self.slope * earlier.slope)


class Label(NamedTuple):
    """What became known of a draft of `stage`.

    `odds` are its predictor's log odds as fitted; `offset` is what all other evidence added to
    them. The label is the `quality` in [0, 1], `told` or by agreement; it counts `weight`, in
    which is the inverse of the chance that it was to be had.
    """

    stage: int
    odds: float
    offset: float
    quality: float
    weight: float
    told: bool = False


class Recalibration:
    """Shifts by online logistic regression with an offset, a stage each.

    Each label moves its stage's shift by a Newton step of the weighted log loss, of a normal prior
    around no shift, and of what earlier labels have shown, which is forgotten slowly. A step is at
    most 0.1 in intercept and in slope; intercepts stay within 3, slopes between 1/3 and 3.
    Deterministic in the order of labels.
    """

    def __init__(self, num_stages: int) -> None:
        self._theta = np.tile(_PRIOR_MEAN, (num_stages, 1))
        self._precision = np.tile(np.diag(_PRIOR_PRECISION), (num_stages, 1, 1))

    @property
    def shifts(self) -> tuple[Shift, ...]:
        return tuple(Shift(*theta) for theta in self._theta.tolist())

    def learn(self, label: Label) -> None:
        theta, prior = self._theta[label.stage], np.diag(_PRIOR_PRECISION)
        kept = _KEPT**label.weight
        inputs = np.array([1.0, label.odds])
        p = float(sigmoid(label.offset + inputs @ theta))
        known = prior + kept * (self._precision[label.stage] - prior)
        known += label.weight * p * (1 - p) * np.outer(inputs, inputs)
        pull = (1 - kept) * _PRIOR_PRECISION * (theta - _PRIOR_MEAN)
        step = np.linalg.solve(known, label.weight * (label.quality - p) * inputs - pull)
        intercept, slope = theta + np.clip(step, -_MAX_STEP, _MAX_STEP)
        self._precision[label.stage] = known
        self._theta[label.stage] = (
            np.clip(intercept, -_MAX_INTERCEPT, _MAX_INTERCEPT),
            np.clip(slope, *_SLOPES),
        )


class Shown(NamedTuple):
    """What labels say of a stage: of drafts that were told, or if none was, of those compared.

    `before` and `after` are estimates as fitted and shifted, `ece` their calibration errors; means
    are weighted by the inverse of the labels' chances. None where there is no label.
    """

    num_told: int
    num_agreements: int
    shift: Shift
    quality: float | None = None
    before: float | None = None
    after: float | None = None
    ece_before: float | None = None
    ece_after: float | None = None

    def as_text(self) -> str:
        if self.quality is None:
            return "nothing is known of its drafts yet"
        intercept, slope = self.shift
        return (
            f"{self.num_told} drafts told, {self.num_agreements} compared; log odds x {slope:.2f} "
            f"{intercept:+.2f}; right {self.quality:.1%}, estimated {self.before:.1%} before and "
            f"{self.after:.1%} after (calibration error {self.ece_before:.3f} and "
            f"{self.ece_after:.3f})"
        )


def shown_by(labels: Iterable[Label], shifts: Sequence[Shift]) -> tuple[Shown, ...]:
    """For each stage."""
    of_stage: list[list[Label]] = [[] for _ in shifts]
    for label in labels:
        of_stage[label.stage].append(label)
    return tuple(_shown(*pair) for pair in zip(of_stage, shifts, strict=True))


def _shown(labels: Sequence[Label], shift: Shift) -> Shown:
    told = [label for label in labels if label.told]
    num_agreements = len(labels) - len(told)
    if not labels:
        return Shown(0, 0, shift)
    _, odds, offset, quality, weight, _ = np.array(told or labels).T
    before = sigmoid(offset + odds)
    after = sigmoid(offset + shift.slope * odds + shift.intercept)
    return Shown(
        len(told),
        num_agreements,
        shift,
        *(float(np.average(values, weights=weight)) for values in (quality, before, after)),
        *(expected_calibration_error(p, quality, weight) for p in (before, after)),
    )
