"""The predictor is a scikit-learn classifier, and a number before it is one."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.inspection import permutation_importance
from sklearn.utils.estimator_checks import parametrize_with_checks

from adaptive_sd.decision.predictor import QualityPredictor


def rows(num_rows: int = 200, width: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Only the second feature tells the label."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(num_rows, width))
    return features, (features[:, 1] + 0.2 * rng.normal(size=num_rows) > 0).astype(int)


@parametrize_with_checks([QualityPredictor()])
def test_is_a_scikit_learn_classifier(
    estimator: QualityPredictor, check: Callable[[QualityPredictor], None]
) -> None:
    check(estimator)


def test_is_not_fitted_before_a_fit() -> None:
    for method in ("predict", "predict_proba"):
        with pytest.raises(NotFittedError):
            getattr(QualityPredictor(), method)(np.zeros((1, 256)))


def test_a_call_before_a_fit_gives_a_seeded_chance_and_warns_once() -> None:
    features = np.random.default_rng(0).normal(size=256)
    predictor = QualityPredictor(256)
    with pytest.warns(UserWarning, match="not fitted") as caught:
        first = predictor(features)
    assert [warning.filename for warning in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = predictor(features)
    assert first.item() == again.item() and 0 < first.item() < 1
    for seed, same in ((0, True), (1, False)):
        with pytest.warns(UserWarning):
            assert (QualityPredictor(random_state=seed)(features).item() == first.item()) == same


def test_one_row_gives_one_value_and_many_rows_an_array() -> None:
    features, labels = rows()
    predictor = QualityPredictor(random_state=1).fit(features, labels)
    second = predictor.predict_proba(features)[:, 1]
    np.testing.assert_allclose(predictor(features), second, atol=1e-9)
    assert predictor(features[0]).item() == pytest.approx(second[0], abs=1e-9)
    assert predictor(features[:1]).item() == pytest.approx(second[0], abs=1e-9)
    assert predictor(features[0].tolist()).item() == pytest.approx(second[0], abs=1e-9)


@pytest.mark.parametrize("shape", [(5,), (2, 7), (2, 2, 6), ()])
def test_other_widths_are_refused_with_both_shapes(shape: tuple[int, ...]) -> None:
    predictor = QualityPredictor().fit(*rows())
    with pytest.raises(ValueError, match=r"features have shape .*; give \(6,\) or"):
        predictor(np.zeros(shape))


def test_chances_sum_to_1_and_the_likelier_class_is_predicted() -> None:
    features, labels = rows()
    names = np.array(["wrong", "right"])[labels]
    predictor = QualityPredictor().fit(features, names)
    chances = predictor.predict_proba(features)
    np.testing.assert_allclose(chances.sum(axis=1), 1)
    assert list(predictor.classes_) == ["right", "wrong"]
    np.testing.assert_array_equal(
        predictor.predict(features), predictor.classes_[chances.argmax(axis=1)]
    )
    unseen, wanted = rows(seed=1)
    assert predictor.score(unseen, np.array(["wrong", "right"])[wanted]) > 0.85


def test_permutation_importance_finds_the_feature_that_tells() -> None:
    features, labels = rows()
    predictor = QualityPredictor(hidden=(16,)).fit(features, labels)
    importance = permutation_importance(predictor, features, labels, n_repeats=3, random_state=0)
    assert int(importance.importances_mean.argmax()) == 1
    assert importance.importances_mean[1] > 0.3


def test_a_weight_is_the_same_as_repeated_rows() -> None:
    features, labels = rows(60)
    weight = np.random.default_rng(0).integers(0, 4, size=60)
    weighted = QualityPredictor(hidden=(8,)).fit(features, labels, sample_weight=weight)
    repeated = QualityPredictor(hidden=(8,)).fit(
        np.repeat(features, weight, axis=0), np.repeat(labels, weight)
    )
    np.testing.assert_allclose(
        weighted.predict_proba(features), repeated.predict_proba(features), atol=1e-9
    )


def test_a_fit_is_the_same_for_a_seed_and_leaves_its_parameters_alone() -> None:
    features, labels = rows()
    predictor = QualityPredictor(hidden=[8, 4], random_state=3).fit(features, labels)
    same = clone(predictor).fit(features, labels)
    other = clone(predictor).set_params(random_state=4).fit(features, labels)
    first = predictor.predict_proba(features)
    np.testing.assert_array_equal(first, same.predict_proba(features))
    assert (first != other.predict_proba(features)).any()
    assert predictor.get_params()["hidden"] == [8, 4]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1] * 20, "one class only, 1; a fit needs two"),
        ([0, 1, 2, 1] * 5, "Only binary classification is supported"),
        ([0.1, 0.7] * 10, "continuous"),
    ],
)
def test_labels_of_other_than_two_kinds_are_refused(labels: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        QualityPredictor().fit(rows(20)[0], labels)


class FakeTensor:
    """As much of a torch tensor as a call asks for."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def detach(self) -> FakeTensor:
        return self

    cpu = detach

    def numpy(self) -> np.ndarray:
        return self.values

    def new_tensor(self, values: np.ndarray) -> FakeTensor:
        return FakeTensor(np.asarray(values))


FakeTensor.__module__ = "torch"


def test_a_tensor_gives_a_tensor() -> None:
    features, labels = rows()
    predictor = QualityPredictor().fit(features, labels)
    found = predictor(FakeTensor(features))
    assert isinstance(found, FakeTensor)
    np.testing.assert_array_equal(found.values, predictor(features))
