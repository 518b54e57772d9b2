"""Folds cover every row once, are as equal as may be and never split a group."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive_sd.decision.folds import make_folds, number_groups
from adaptive_sd.errors import DataError


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 60), st.integers(2, 8), st.integers(0, 2**31))
def test_rows_are_shared_out_evenly_and_the_same_for_a_seed(n: int, k: int, seed: int) -> None:
    if n < k:
        n += k
    folds = make_folds(n, k, rng=np.random.default_rng(seed))
    sizes = np.bincount(folds, minlength=k)
    assert len(sizes) == k and sizes.max() - sizes.min() <= 1
    np.testing.assert_array_equal(folds, make_folds(n, k, rng=np.random.default_rng(seed)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from("abcdefgh"), min_size=8, max_size=50), st.integers(0, 2**31))
def test_a_group_never_straddles_a_fold(letters: list[str], seed: int) -> None:
    groups = [*letters, "x", "y", "z"]
    folds = make_folds(len(groups), 3, rng=np.random.default_rng(seed), groups=groups)
    of_group = {g: {int(f) for f, h in zip(folds, groups, strict=True) if h == g} for g in groups}
    assert all(len(seen) == 1 for seen in of_group.values())
    sizes = np.bincount([seen.pop() for seen in of_group.values()], minlength=3)
    assert len(sizes) == 3 and sizes.max() - sizes.min() <= 1


def test_another_seed_gives_other_folds() -> None:
    first, second = (make_folds(100, 5, rng=np.random.default_rng(seed)) for seed in (0, 1))
    assert (first != second).any()


@pytest.mark.parametrize(
    ("num_rows", "num_folds", "groups"), [(4, 5, None), (10, 1, None), (6, 3, [0, 0, 0, 1, 1, 1])]
)
def test_too_few_prompts_are_refused(
    num_rows: int, num_folds: int, groups: list[int] | None
) -> None:
    with pytest.raises(DataError, match="cannot make"):
        make_folds(num_rows, num_folds, rng=np.random.default_rng(0), groups=groups)


@given(st.lists(st.sampled_from("abcdef"), max_size=30), st.permutations("abcdef"))
def test_groups_are_numbered_as_they_appear_whatever_they_are_called(
    keys: list[str], names: list[str]
) -> None:
    numbers = number_groups(keys).tolist()
    assert [[a == b for b in numbers] for a in numbers] == [[a == b for b in keys] for a in keys]
    assert list(dict.fromkeys(numbers)) == list(range(len(set(keys))))
    renamed = dict(zip("abcdef", names, strict=True))
    assert number_groups([renamed[key] for key in keys]).tolist() == numbers


@given(st.permutations(range(12)), st.integers(0, 2**31))
def test_groups_of_one_row_each_are_no_groups(groups: list[int], seed: int) -> None:
    """Whatever their numbers."""
    plain, grouped = (
        make_folds(12, 3, rng=np.random.default_rng(seed), groups=g) for g in (None, groups)
    )
    np.testing.assert_array_equal(plain, grouped)
