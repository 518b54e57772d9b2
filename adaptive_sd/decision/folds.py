"""Folds for fitting out of fold, and the groups of rows that they keep together."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adaptive_sd.errors import DataError


def make_folds(
    num_rows: int, num_folds: int, *, rng: np.random.Generator, groups: ArrayLike | None = None
) -> NDArray[np.int64]:
    """A fold for each row, as equal in size as may be; rows of one group share a fold."""
    group = np.arange(num_rows) if groups is None else number_groups(np.asarray(groups).tolist())
    num_groups = int(group.max(initial=-1)) + 1
    if num_groups < num_folds or num_folds < 2:
        raise DataError(
            f"{num_groups} different prompts cannot make {num_folds} folds; "
            "record more of them (a few hundred make a usable fit)."
        )
    fold_of_group = rng.permutation(np.arange(num_groups) % num_folds)
    return fold_of_group[group]


def number_groups(keys: Iterable[Hashable]) -> NDArray[np.int64]:
    """Each row's group, of equal keys, numbered by first appearance: of unlike keys 0, 1, 2 ..."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
