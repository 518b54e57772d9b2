"""Which evidence a predictor rests on: what its AUC loses when one feature is shuffled."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.calibration import auc
from adaptive_sd.decision.features import MAX_COMPONENTS, NUM_FORMS, STATISTIC_NAMES

GROUPS: dict[str, slice] = {
    "form": slice(0, NUM_FORMS),
    **{n: slice(i, i + 1) for i, n in enumerate(STATISTIC_NAMES) if i >= NUM_FORMS},
    "hidden": slice(len(STATISTIC_NAMES), len(STATISTIC_NAMES) + MAX_COMPONENTS),
}
"""Columns that are shuffled together: a statistic by itself, the prompt's hidden state as one."""

MAX_ROWS = 2000

Score = Callable[[NDArray[np.int64], NDArray[np.float32]], NDArray[np.float64]]
"""Of rows by number, with these features: (num_rows,) and (num_rows, 256) to (num_rows,)."""


def permutation_importance(
    score: Score,
    features: NDArray[np.float32],
    quality: NDArray[np.float64],
    signals: Mapping[str, int],
    *,
    rng: np.random.Generator,
    num_repeats: int = 5,
) -> dict[str, float]:
    """Mean fall in AUC for each group whose columns vary, the largest first.

    As sklearn.inspection.permutation_importance, but columns of a group move together, and `score`
    is told which rows, so that each can be scored by a network that has not seen it. `features`
    (num_rows, 256) and `quality` (num_rows,): at most MAX_ROWS are used. `signals`: the columns of
    evidence of other names. Empty where one class only makes the AUC undefined.
    """
    rows = np.sort(rng.permutation(len(quality))[:MAX_ROWS])
    features, quality = features[rows], quality[rows]
    base = auc(score(rows, features), quality)
    if np.isnan(base):
        return {}
    found: dict[str, float] = {}
    others = {name: slice(column, column + 1) for name, column in signals.items()}
    for name, columns in (GROUPS | others).items():
        if not np.ptp(features[:, columns], axis=0).any():
            continue
        shuffled = features.copy()
        aucs = []
        for _ in range(num_repeats):
            shuffled[:, columns] = features[rng.permutation(len(rows)), columns]
            aucs.append(auc(score(rows, shuffled), quality))
        found[name] = base - float(np.mean(aucs))
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))
