"""Selection: what is said of a row comes from a fit that had not seen its group."""

from __future__ import annotations

import numpy as np
import pytest

from adaptive_sd.decision.calibration import auc, log_loss
from adaptive_sd.decision.features import FEATURE_DIM, STATISTIC_NAMES
from adaptive_sd.decision.selection import CANDIDATES, PredictorFit, fit_predictor
from adaptive_sd.decision.training import Candidate
from adaptive_sd.errors import DataError

FEW = (Candidate("strong penalty", 30.0), Candidate("no penalty to speak of", 1e-3))
MEMORISER = (Candidate("memoriser", 1e-3),)


def noise(num_rows: int = 150, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num_rows, FEATURE_DIM))


def fit(
    features: np.ndarray,
    quality: np.ndarray,
    *,
    candidates: tuple[Candidate, ...] = FEW,
    groups: np.ndarray | None = None,
    seed: int = 0,
) -> PredictorFit:
    rng = np.random.default_rng(seed)
    return fit_predictor(features, quality, rng=rng, candidates=candidates, groups=groups)


def test_noise_is_learned_by_heart_but_not_told_out_of_fold() -> None:
    """256 features separate 150 rows: in the fit every row is right, out of it none is."""
    features = noise()
    quality = np.random.default_rng(1).integers(0, 2, size=150).astype(float)
    found = fit(features, quality, candidates=MEMORISER)
    assert auc(found.predictor.scores(features), quality) > 0.99
    assert 0.35 < auc(found.estimates, quality) < 0.65
    assert found.report.auc.value == auc(found.estimates, quality)
    assert log_loss(found.estimates, quality) < 0.8  # calibrated: it does not claim to know


def test_rows_of_one_group_never_straddle_a_fold() -> None:
    """Each row has a twin with its label: only a fit that saw the twin could tell it."""
    features = np.repeat(noise(100), 2, axis=0)
    quality = np.repeat(np.random.default_rng(1).integers(0, 2, size=100), 2).astype(float)
    apart = fit(features, quality, candidates=MEMORISER)
    together = fit(features, quality, candidates=MEMORISER, groups=np.repeat(np.arange(100), 2))
    assert auc(apart.estimates, quality) > 0.85
    assert 0.3 < auc(together.estimates, quality) < 0.7


def test_a_fit_is_the_same_for_a_seed() -> None:
    features = noise(50)
    quality = (features[:, 0] + features[:, 1] > 0).astype(float)
    first, same, other = (fit(features, quality, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.estimates, same.estimates)
    np.testing.assert_array_equal(
        first.predictor.predict_many(features), same.predictor.predict_many(features)
    )
    assert first.report == same.report
    assert (first.estimates != other.estimates).any()


def test_the_least_loss_out_of_fold_is_chosen_and_the_first_of_equals() -> None:
    features = noise(200)
    quality = (features[:, 0] + 0.5 * features[:, 40] > 0).astype(float)
    report = fit(features, quality).report
    assert report.log_losses[report.candidate] == min(report.log_losses.values())
    assert list(report.log_losses) == [c.name for c in FEW]
    twins = (Candidate("one", 30.0), Candidate("two", 30.0))
    assert fit(features, quality, candidates=twins).report.candidate == "one"
    assert report.num_rows == 200 and report.calibration == "Platt"


def test_the_default_candidates_find_what_only_hidden_states_tell() -> None:
    assert {c.num_columns for c in CANDIDATES} == {len(STATISTIC_NAMES), None}
    features = noise(120)
    quality = (features[:, 100] > 0).astype(float)
    blind, seeing = CANDIDATES[1], CANDIDATES[3]
    found = fit(features, quality, candidates=(blind, seeing))
    assert found.report.candidate == seeing.name
    assert 0.3 < auc(fit(features, quality, candidates=(blind,)).estimates, quality) < 0.7


def test_fractional_quality_is_estimated_as_such() -> None:
    """As many rows of quality .3 and .8, told apart by one feature."""
    features = noise(300)
    quality = np.where(features[:, 3] > 0, 0.8, 0.3)
    found = fit(features, quality, candidates=(Candidate("logistic", 1.0, (), 8),))
    assert found.report.brier.value < 0.5 * np.var(quality)
    clear = np.abs(features[:, 3]) > 0.5
    assert np.abs(found.estimates - quality)[clear].mean() < 0.12


@pytest.mark.parametrize("quality", [0.0, 1.0])
def test_a_single_class_works(quality: float) -> None:
    features = noise(40)
    found = fit(features, np.full(40, quality))
    assert np.abs(found.estimates - quality).max() < 0.2
    assert np.abs(found.predictor.predict_many(features) - quality).max() < 0.2
    assert np.isnan(found.report.auc.value)


def test_estimates_of_many_rows_are_calibrated_by_steps() -> None:
    features = noise(1500)
    quality = (np.random.default_rng(1).random(1500) < 0.5 + 0.4 * np.tanh(features[:, 0])).astype(
        float
    )
    report = fit(features, quality, candidates=FEW[:1]).report
    assert report.calibration == "isotonic"
    assert report.ece.value < 0.06


@pytest.mark.parametrize(
    ("features", "quality", "message"),
    [
        (noise(10), np.full(9, 0.5), r"\(10, 256\) and quality \(9,\) do not match"),
        (noise(10)[:, :5], np.full(10, 0.5), "5 columns, not 256"),
        (noise(10), np.array([0.5] * 9 + [1.5]), "quality of row 9 is 1.5"),
        (noise(10), np.array([np.nan] + [0.5] * 9), "quality of row 0 is nan"),
        (np.where(np.arange(256) == 3, np.inf, noise(10)), np.full(10, 0.5), "feature 3 of row 0"),
        (noise(3), np.full(3, 0.5), "cannot make 5 folds"),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    features: np.ndarray, quality: np.ndarray, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        fit(features, quality)
