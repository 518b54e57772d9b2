"""Calibrations are monotone and honest at their ends; metrics equal their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive_sd.decision.calibration import (
    ISOTONIC_FROM,
    Calibration,
    auc,
    bootstrap,
    brier_score,
    expected_calibration_error,
    fit_calibration,
    fit_isotonic,
    fit_platt,
    log_loss,
    logit,
    sigmoid,
)

FloatArray = np.ndarray

seeds = st.integers(0, 2**31)


def scored(seed: int, num_rows: int = 300, slope: float = 1.0) -> tuple[FloatArray, FloatArray]:
    """Scores and labels whose true chance is sigmoid(slope * score)."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(scale=2.0, size=num_rows)
    return scores, (rng.random(num_rows) < sigmoid(slope * scores)).astype(float)


@given(st.floats(-700, 700))
def test_sigmoid_is_the_logistic_function(x: float) -> None:
    assert float(sigmoid(x)) == pytest.approx(1 / (1 + math.exp(-x)), abs=1e-15)


@pytest.mark.parametrize("x", [-1e300, 1e300, -np.inf, np.inf])
def test_sigmoid_does_not_overflow(x: float) -> None:
    assert float(sigmoid(x)) == float(x > 0)


@given(st.floats(-6, 6), st.floats(0, 1))
def test_logit_inverts_sigmoid_and_keeps_its_margin(x: float, p: float) -> None:
    assert float(logit(sigmoid(x))) == pytest.approx(x, abs=1e-9)
    assert abs(float(logit(p, 0.01))) <= math.log(99) + 1e-12


@settings(max_examples=30, deadline=None)
@given(seeds, st.sampled_from([fit_platt, fit_isotonic]), st.integers(5, 200))
def test_fitted_calibrations_are_monotone_chances(seed: int, fit: object, num_rows: int) -> None:
    scores, right = scored(seed, num_rows)
    calibration = fit(scores, right)  # type: ignore[operator]
    grid = np.linspace(-30, 30, 301)
    chances = calibration.apply(grid)
    steps = np.diff(chances)
    assert (steps >= 0).all() or (fit is fit_platt and calibration.slope < 0 and (steps <= 0).all())
    assert ((chances >= 0) & (chances <= 1)).all()
    one_by_one = [calibration.apply_one(float(score)) for score in grid]
    np.testing.assert_allclose(chances, one_by_one, rtol=1e-12, atol=1e-15)


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(2, 200), st.booleans(), st.sampled_from([-30.0, 0.01, 1.0, 30.0, 1e3]))
def test_platt_is_where_the_penalised_likelihood_is_flat(
    seed: int, num_rows: int, soft: bool, unit: float
) -> None:
    """Also from scores so large that the first guess is sure of everything, or wrong."""
    scores, right = scored(seed, num_rows)
    scores = unit * scores
    quality = 0.2 + 0.5 * right if soft else right
    fit = fit_platt(scores, quality)
    error = fit.apply(scores) - quality
    assert (scores @ error + (fit.slope - 1)) / abs(unit) == pytest.approx(0, abs=1e-5)
    assert error.sum() + 0.1 * fit.intercept == pytest.approx(0, abs=1e-5)


def test_platt_finds_the_slope_and_stays_finite_where_classes_separate() -> None:
    scores, right = scored(0, 20_000, slope=0.5)
    fit = fit_platt(scores, right)
    assert fit.slope == pytest.approx(0.5, abs=0.03) and abs(fit.intercept) < 0.05
    apart = fit_platt(scores, (scores > 0).astype(float))
    assert 1 < apart.slope < 100
    one_class = fit_platt(scores[:20], np.ones(20))
    assert 0.5 < one_class.apply_one(0.0) < 1


def test_a_soft_label_counts_as_its_share_of_right_and_wrong_rows() -> None:
    scores = np.linspace(-2, 2, 9)
    quality = np.repeat([0.25, 0.75, 0.5], 3)
    doubled = np.tile(scores, 4)
    hard = (np.arange(4)[:, None] < 4 * quality).astype(float).ravel()
    # the likelihood is counted four times, the prior once: scale the soft one alike
    soft = fit_platt(doubled, np.tile(quality, 4))
    fit = fit_platt(doubled, hard)
    assert (fit.slope, fit.intercept) == pytest.approx((soft.slope, soft.intercept), abs=1e-9)


def test_many_rows_take_the_isotonic_calibration() -> None:
    scores, right = scored(0, ISOTONIC_FROM)
    assert fit_calibration(scores, right).scores is not None
    assert fit_calibration(scores[:-1], right[:-1]).scores is None


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_isotonic_claims_at_its_ends_no_more_than_the_rows_show(seed: int) -> None:
    scores, right = scored(seed, 400, slope=4.0)
    fit = fit_isotonic(scores, right)
    assert fit.probabilities is not None
    best = fit.apply(scores) == fit.probabilities.max()
    if right[best].all():
        assert fit.probabilities.max() <= 1 - 0.5 / (best.sum() + 1)
    worst = fit.apply(scores) == fit.probabilities.min()
    if not right[worst].any():
        assert fit.probabilities.min() >= 0.5 / (worst.sum() + 1)


def test_one_row_at_an_end_does_not_flatten_the_others() -> None:
    """One wrong row lowest and one right row highest, around blocks of .02 and .98."""
    low, high = np.tile([1.0, *[0.0] * 49], 10), np.tile([*[1.0] * 49, 0.0], 10)
    quality = np.concatenate([[0.0], low, high, [1.0]])
    fit = fit_isotonic(np.arange(len(quality), dtype=float), quality)
    assert fit.apply_one(250.0) == pytest.approx(0.02, abs=0.003)
    assert fit.apply_one(750.0) == pytest.approx(0.98, abs=0.003)


@pytest.mark.parametrize("quality", [0.0, 1.0, 0.3])
def test_isotonic_of_one_level(quality: float) -> None:
    fit = fit_isotonic(np.arange(9.0), np.full(9, quality))
    assert fit.apply_one(4.0) == pytest.approx(np.clip(quality, 0.05, 0.95))


@pytest.mark.parametrize("fit", [fit_platt, fit_isotonic])
def test_arrays_round_trip(fit: object) -> None:
    scores, right = scored(1)
    calibration = fit(scores, right)  # type: ignore[operator]
    again = Calibration.from_arrays(calibration.to_arrays())
    np.testing.assert_array_equal(again.apply(scores), calibration.apply(scores))
    assert (again.scores is None) == (calibration.scores is None)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.sampled_from([0.0, 0.4, 0.5, 1.0])), max_size=30))
def test_auc_counts_pairs(rows: list[tuple[int, float]]) -> None:
    p, y = [row[0] / 6 for row in rows], [row[1] for row in rows]
    right = [a for a, b in zip(p, y, strict=True) if b >= 0.5]
    wrong = [a for a, b in zip(p, y, strict=True) if b < 0.5]
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in right for b in wrong]
    if pairs:
        assert auc(p, y) == pytest.approx(sum(pairs) / len(pairs))
    else:
        assert math.isnan(auc(p, y))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10), st.integers(1, 4)), min_size=1, max_size=8))
def test_calibration_error_is_0_for_blocks_that_keep_their_word(
    blocks: list[tuple[int, int]],
) -> None:
    p = np.concatenate([np.full(10 * size, tenths / 10) for tenths, size in blocks])
    y = np.concatenate([np.tile(np.arange(10) < tenths, size) for tenths, size in blocks])
    assert expected_calibration_error(p, y) == pytest.approx(0, abs=1e-12)


@given(st.floats(0, 1), st.floats(0, 1))
def test_calibration_error_of_one_prediction_is_its_distance(p: float, y: float) -> None:
    error = expected_calibration_error(np.full(7, p), np.full(7, y))
    assert error == pytest.approx(abs(p - y), abs=1e-12)


def test_brier_and_log_loss_are_least_at_the_truth() -> None:
    y = np.array([0.0, 0.25, 1.0])
    assert brier_score(y, y) == 0
    assert brier_score([0.5, 0.5], [0, 1]) == 0.25
    assert log_loss([0.5, 0.5], [0, 1]) == pytest.approx(math.log(2))
    others = np.random.default_rng(0).random((50, 3))
    assert all(log_loss(other, y) > log_loss(y, y) for other in others)
    assert math.isfinite(log_loss([0.0, 1.0], [1, 0]))


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_bootstrap_holds_the_value_and_is_the_same_for_a_seed(seed: int) -> None:
    scores, right = scored(seed, 200)
    p = sigmoid(scores)
    first, second = (
        bootstrap(auc, p, right, rng=np.random.default_rng(seed), num_resamples=100)
        for _ in range(2)
    )
    assert first == second
    assert first.value == auc(p, right)
    assert first.low < first.value < first.high


def test_bootstrap_of_a_constant_has_no_width_and_leaves_out_the_undefined() -> None:
    ones = np.ones(20)
    rng = np.random.default_rng(0)
    assert bootstrap(brier_score, ones, 0 * ones, rng=rng) == (1.0, 1.0, 1.0)
    value, low, high = bootstrap(auc, ones, ones, rng=rng)
    assert math.isnan(value) and math.isnan(low) and math.isnan(high)
    rare = np.array([1.0, *[0.0] * 9])  # a third of the resamples have no right row
    assert bootstrap(auc, rare, rare, rng=rng) == (1.0, 1.0, 1.0)


@settings(max_examples=20, deadline=None)
@given(seeds, st.sampled_from([0.0, 0.3]))
def test_the_interval_of_a_calibration_error_holds_it(seed: int, too_high: float) -> None:
    """Also where all of it is noise, which resampling adds to."""
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.05, 0.65, 300)
    right = (rng.random(300) < p).astype(float)
    found = bootstrap(expected_calibration_error, p + too_high, right, rng=rng, num_resamples=200)
    assert 0 <= found.low < found.value < found.high < found.value + 0.1


def test_rows_of_one_prompt_are_resampled_together() -> None:
    """Eight copies of each row tell no more than one: the interval is as wide, and not narrower."""
    scores, right = scored(0, 100)
    p = sigmoid(scores)
    once = bootstrap(brier_score, p, right, rng=np.random.default_rng(1))
    copies, groups = np.repeat(np.arange(100), 8), np.repeat(np.arange(100), 8)
    for metric in (brier_score, auc):
        once = bootstrap(metric, p, right, rng=np.random.default_rng(1))
        grouped = bootstrap(
            metric, p[copies], right[copies], groups=groups, rng=np.random.default_rng(1)
        )
        assert grouped == pytest.approx(once)
        alone = bootstrap(metric, p[copies], right[copies], rng=np.random.default_rng(1))
        assert alone.high - alone.low < 0.5 * (once.high - once.low)


@pytest.mark.parametrize("num_rows", [50, 12_000])
def test_groups_of_one_row_each_change_no_interval(num_rows: int) -> None:
    scores, right = scored(0, num_rows)
    p = sigmoid(scores)
    plain, grouped = (
        bootstrap(auc, p, right, groups=g, rng=np.random.default_rng(1), num_resamples=20)
        for g in (None, np.arange(num_rows) + 7)
    )
    assert plain == grouped


def test_many_rows_of_few_prompts_are_resampled_by_prompt_too() -> None:
    """As few of their rows, each of which counts that often."""
    scores, right = scored(0, 60)
    p = sigmoid(scores).round(3)
    copies = np.repeat(np.arange(60), 200)
    few, many = (
        bootstrap(brier_score, p[r], right[r], groups=r, rng=np.random.default_rng(1))
        for r in (np.arange(60), copies)
    )
    assert many == pytest.approx(few)
