"""Shifts of estimates: bounded steps, where they lead, and labels free of selection bias."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.decision.calibration import logit, sigmoid
from adaptive_sd.decision.observed import Compared, Estimate, Observed
from adaptive_sd.decision.policies import HeldDraft
from adaptive_sd.decision.recalibration import (
    AGREEMENT_WEIGHT,
    Label,
    Recalibration,
    Shift,
    shown_by,
)

LABELS = st.builds(
    Label,
    st.integers(0, 1),
    st.floats(-7, 7),
    st.floats(-7, 7),
    st.floats(0, 1),
    st.floats(0.01, 50),
)


@given(st.lists(LABELS, max_size=60))
def test_steps_and_shifts_are_bounded_and_stages_apart(labels: list[Label]) -> None:
    learner = Recalibration(2)
    for label in labels:
        before = learner.shifts
        learner.learn(label)
        after = learner.shifts
        assert np.abs(np.subtract(after, before)).max() <= 0.1 + 1e-12
        assert after[1 - label.stage] == before[1 - label.stage]
        assert all(abs(a) <= 3 and 1 / 3 <= b <= 3 for a, b in after)


def told(shift: Shift, count: int, rng: np.random.Generator) -> list[Label]:
    """Drafts that are right as often as shifted estimates say."""
    odds, offset = rng.normal(size=count) * 1.5, rng.normal(size=count) * 0.5
    right = rng.random(count) < sigmoid(offset + shift.slope * odds + shift.intercept)
    rows = zip(odds.tolist(), offset.tolist(), right.tolist(), strict=True)
    return [Label(0, x, o, float(y), 1.0) for x, o, y in rows]


@pytest.mark.parametrize("truth", [Shift(), Shift(-1.0, 1.0), Shift(0.5, 0.6), Shift(-0.5, 1.5)])
def test_the_truth_is_learned_and_estimates_become_calibrated(truth: Shift) -> None:
    rng = np.random.default_rng(0)
    learner = Recalibration(1)
    for label in told(truth, 1500, rng):
        learner.learn(label)
    [shift] = learner.shifts
    assert shift.intercept == pytest.approx(truth.intercept, abs=0.35)
    assert shift.slope == pytest.approx(truth.slope, abs=0.35)
    [shown] = shown_by(told(truth, 4000, rng), [shift])
    assert shown.quality is not None and shown.after is not None
    assert shown.after == pytest.approx(shown.quality, abs=0.05)
    assert shown.ece_after is not None and shown.ece_after < 0.06
    if truth.intercept == -1:
        assert shown.ece_before is not None and shown.ece_before > 0.12


def test_no_shift_changes_nothing_not_even_a_digit() -> None:
    for quality in (0.0, 1e-9, 0.123456789, 0.999999, 1.0):
        assert Shift().added(float(logit(quality))) == 0
        assert HeldDraft(0, quality, np.empty(0, np.float32)).told == quality


@given(st.floats(-4, 4), st.floats(-2, 2), st.floats(0.4, 2.5), st.floats(-2, 2))
def test_a_shift_after_another_is_both(odds: float, first: float, slope: float, b: float) -> None:
    earlier, later = Shift(first, slope), Shift(b, 1 / slope)
    assert later.after(earlier).odds(odds) == pytest.approx(later.odds(earlier.odds(odds)))
    assert odds + later.added(odds) == pytest.approx(later.odds(odds))


def observed(right: bool, propensity: float) -> Observed:
    """A draft whose label by a larger stage's is whether it is right."""
    compared = Compared(Estimate(0, 0.0, 0.0), float(right), propensity)
    return Observed(1.0, propensity < 1, None, Estimate(1, 0.0, 0.0), (compared,))


def test_weighted_by_the_inverse_of_their_chance_labels_are_those_of_all_drafts() -> None:
    """Bad drafts escalate, so that their labels alone are too bad; others do with chance 0.05."""
    rng = np.random.default_rng(3)
    count, explore = 40_000, 0.05
    quality = rng.random(count)
    right = rng.random(count) < quality
    escalates = quality < 0.6
    labels = [
        label
        for is_right, always, drawn in zip(
            right.tolist(), escalates.tolist(), (rng.random(count) < explore).tolist(), strict=True
        )
        if always or drawn
        for label in observed(is_right, 1.0 if always else explore).agreements()
    ]
    [shown] = shown_by(labels, [Shift()])
    naive = float(np.mean([label.quality for label in labels]))
    truth = float(right.mean())
    # of a Horvitz-Thompson mean: what each of those drawn stands for
    standard_error = np.sqrt((right & ~escalates).sum() / explore) / count
    assert shown.quality == pytest.approx(truth, abs=3 * standard_error)
    assert naive < truth - 10 * standard_error
    assert min(label.weight for label in labels) == AGREEMENT_WEIGHT
