"""What few rows tell of one stage, shrunk to what they tell of the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from adaptive_sd.decision.calibration import fit_logistic

FloatArray = NDArray[np.float64]

PRIOR_PROMPTS = 10.0
"""Graded prompts that the other stages' mean quality is worth."""
SLOPE_PROMPTS = 30.0
"""Graded prompts that what evidence means for the other stages is worth."""
INFORMATION = 0.2
"""Of one graded prompt on a log odds: p * (1 - p) near the middle."""


class Labelled(NamedTuple):
    """Rows of evidence on drafts of one stage; column 0 is constant."""

    rows: FloatArray  # (num_rows, num_columns)
    quality: FloatArray  # (num_rows,)
    weight: FloatArray  # (num_rows,), together the number of prompts


class MeanQuality(NamedTuple):
    """The Beta posterior of a stage's mean quality: so many right and wrong answers."""

    right: float
    wrong: float

    @property
    def mean(self) -> float:
        return self.right / (self.right + self.wrong)

    def quantile(self, share: float) -> float:
        return float(beta.ppf(share, self.right, self.wrong))


def mean_quality(graded: FloatArray, stage: int) -> MeanQuality:
    """Of `graded` (num_prompts, num_stages); prior: the other stages' mean, worth PRIOR_PROMPTS."""
    quality = graded[:, stage]
    prior = np.clip(np.delete(graded, stage, axis=1).mean(), 0.05, 0.95)
    return MeanQuality(
        float(PRIOR_PROMPTS * prior + quality.sum()),
        float(PRIOR_PROMPTS * (1 - prior) + (1 - quality).sum()),
    )


def shrunk_logistic(others: Sequence[Labelled], own: Labelled, start: FloatArray) -> FloatArray:
    """Weights of the log odds of `own`, with those of the others as prior; these have `start` as.

    The others have one slope of each column together, and each a constant of its own. `start` is
    the prior where there are none.
    """
    slopes = SLOPE_PROMPTS * INFORMATION * own.rows[:, 1:].var(axis=0) + 1e-3
    prior = start
    if others:
        pooled = np.concatenate([data.rows[:, 1:] for data in others])
        constants = np.repeat(np.eye(len(others)), [len(data.quality) for data in others], axis=0)
        found = fit_logistic(
            np.concatenate([constants, pooled], axis=1),
            np.concatenate([data.quality for data in others]),
            mean=np.concatenate([np.full(len(others), start[0]), start[1:]]),
            precision=np.concatenate([np.full(len(others), 0.1), slopes]),
            weight=np.concatenate([data.weight for data in others]),
        )
        prior = np.concatenate([[found[: len(others)].mean()], found[len(others) :]])
    precision = np.concatenate([[PRIOR_PROMPTS * INFORMATION], slopes])
    return fit_logistic(own.rows, own.quality, mean=prior, precision=precision, weight=own.weight)
