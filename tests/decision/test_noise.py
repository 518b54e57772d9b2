"""Luck is hardly ever taken for a difference, also where many are tried."""

from __future__ import annotations

import numpy as np
import pytest

from adaptive_sd.decision.noise import NOISE, noise_among, noise_units


@pytest.mark.parametrize("num_tried", [1, 5, 25])
def test_the_largest_of_many_differences_by_luck_stays_below(num_tried: int) -> None:
    drawn = np.random.default_rng(num_tried).normal(size=(40_000, num_tried))
    exceeding = (drawn.max(axis=1) > noise_among(num_tried)).mean()
    assert exceeding == pytest.approx(0.05, abs=0.005)


def test_one_difference_is_not_among_many() -> None:
    assert noise_among(1) == pytest.approx(NOISE, abs=0.005)


def test_a_group_counts_once() -> None:
    losses = np.random.default_rng(0).normal(0.3, 1, size=(50, 3))
    others = np.ones_like(losses)
    copied, group = (np.repeat(each, 4, axis=0) for each in (losses, np.arange(50)))
    found = noise_units(copied, np.ones_like(copied), group)
    np.testing.assert_allclose(found, noise_units(losses, others, None), rtol=1e-6)
    assert (np.abs(noise_units(copied, np.ones_like(copied), None)) > np.abs(found)).all()
