"""Folds for fitting out of fold."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adaptive_sd.errors import DataError


def make_folds(
    num_rows: int, num_folds: int, *, rng: np.random.Generator, groups: ArrayLike | None = None
) -> NDArray[np.int64]:
    """A fold for each row, as equal in size as may be; rows of one group share a fold."""
    group = np.arange(num_rows) if groups is None else np.unique(groups, return_inverse=True)[1]
    num_groups = int(group.max(initial=-1)) + 1
    if num_groups < num_folds or num_folds < 2:
        raise DataError(
            f"{num_groups} prompts cannot make {num_folds} folds; "
            "record more prompts (a few hundred make a usable fit)."
        )
    fold_of_group = rng.permutation(np.arange(num_groups) % num_folds)
    return fold_of_group[group]
