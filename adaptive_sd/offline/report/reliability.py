"""Calibration of the stages' predictors: estimates against what was then measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.stats import beta

from adaptive_sd.decision.calibration import mass_bins
from adaptive_sd.offline.replay.field import Subject
from adaptive_sd.offline.replay.report import PredictorQuality


class Bin(NamedTuple):
    """Prompts of like estimates: means, and the 95 % interval of the measured quality."""

    num_prompts: int
    estimate: float
    quality: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """One stage's predictor on prompts unseen; the bins are those of its ECE."""

    predictor: PredictorQuality
    bins: tuple[Bin, ...]


def make_reliability(
    subject: Subject, predictors: tuple[PredictorQuality, ...]
) -> tuple[Reliability, ...]:
    return tuple(
        Reliability(predictor, _bins(subject.table.told(k), subject.table.quality[:, k]))
        for k, predictor in enumerate(predictors)
    )


def _bins(estimates: np.ndarray, quality: np.ndarray) -> tuple[Bin, ...]:
    """With Jeffreys' intervals (Brown, Cai and DasGupta 2001), where fractions count as parts."""
    _, value, mass = np.unique(estimates, return_inverse=True, return_counts=True)
    place = mass_bins(mass)[value]
    counts = np.bincount(place)
    right, guessed = (np.bincount(place, weights=values) for values in (quality, estimates))
    low, high = beta.ppf([[0.025], [0.975]], right + 0.5, counts - right + 0.5)
    return tuple(
        Bin(int(n), float(g / n), float(r / n), float(min(lo, r / n)), float(max(hi, r / n)))
        for n, g, r, lo, hi in zip(counts, guessed, right, low, high, strict=True)
        if n
    )
