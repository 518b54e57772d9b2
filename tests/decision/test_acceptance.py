"""The Beta of acceptance is found again in answers drawn from it."""

from __future__ import annotations

import numpy as np
import pytest

from adaptive_sd.decision.acceptance import fit_acceptance
from adaptive_sd.types import Acceptance


def draw(
    a: float, b: float, *, num_rows: int, num_drafted: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Each answer has a chance of its own; tokens agree until the first that does not."""
    rng = np.random.default_rng(seed)
    chance = rng.beta(a, b, size=num_rows)
    agrees = rng.random((num_rows, num_drafted)) < chance[:, None]
    return np.cumprod(agrees, axis=1).sum(axis=1), np.full(num_rows, num_drafted)


@pytest.mark.parametrize(("a", "b"), [(2.0, 1.0), (8.0, 2.0), (0.7, 0.7), (1.0, 4.0)])
@pytest.mark.parametrize("num_drafted", [6, 60])
def test_parameters_are_found_again(a: float, b: float, num_drafted: int) -> None:
    agreed, drafted = draw(a, b, num_rows=6000, num_drafted=num_drafted)
    found = fit_acceptance(agreed, drafted)
    assert found.accepted == pytest.approx(a, rel=0.25)
    assert found.rejected == pytest.approx(b, rel=0.25)
    mean = found.accepted / (found.accepted + found.rejected)
    assert mean == pytest.approx(a / (a + b), abs=0.02)


def test_drafts_cut_short_do_not_bias_the_chance() -> None:
    """A draft that agrees to its end says "at least so many", not "so many"."""
    agreed, drafted = draw(3.0, 1.0, num_rows=6000, num_drafted=40)
    limit = np.random.default_rng(1).integers(1, 8, size=len(drafted))
    found = fit_acceptance(np.minimum(agreed, limit), limit)
    assert found.accepted / (found.accepted + found.rejected) == pytest.approx(0.75, abs=0.02)


def test_no_rows_leave_the_uniform_prior() -> None:
    empty = np.array([], dtype=np.int64)
    assert fit_acceptance(empty, empty) == pytest.approx(Acceptance(1.0, 1.0), rel=1e-3)


@pytest.mark.parametrize("num_rows", [1, 2, 5])
def test_few_rows_move_the_prior_the_right_way(num_rows: int) -> None:
    drafted = np.full(num_rows, 20)
    all_agree, none_agree = (fit_acceptance(np.full(num_rows, m), drafted) for m in (20, 0))
    assert all_agree.accepted > all_agree.rejected > 0
    assert none_agree.rejected > none_agree.accepted > 0


@pytest.mark.parametrize("num_agreed", [0, 500])
def test_many_rows_of_one_kind_stay_finite(num_agreed: int) -> None:
    rows = np.full(5000, num_agreed)
    found = fit_acceptance(rows, np.full(5000, 500))
    assert min(found) > 0 and max(found) <= np.exp(5)
    share = found.accepted / sum(found)
    assert share > 0.95 if num_agreed else share < 0.05
