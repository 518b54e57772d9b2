"""The quality predictor: a scikit-learn classifier for people, a fitted network for the cascade."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from adaptive_sd.decision.calibration import sigmoid
from adaptive_sd.decision.network import FittedPredictor
from adaptive_sd.decision.training import Candidate, Labelled, train, untrained


class QualityPredictor(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Estimates the chance that a draft is right; a small network with two hidden layers.

    Called, it gives the chance of the second class: for a numpy array of shape (num_features,)
    or (num_rows, num_features) an array, for a torch tensor a tensor; one row gives one value,
    on which `.item()` works. Before a fit, that is a seeded untrained network of `feature_dim`
    inputs, and a warning; `fit` takes any width. Labels are any two values. `alpha` is the L2
    penalty of the summed log loss.
    """

    def __init__(
        self,
        feature_dim: int = 256,
        hidden: Sequence[int] = (128, 64),
        alpha: float = 1.0,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.feature_dim = feature_dim
        self.hidden = hidden
        self.alpha = alpha
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit on rows of features and two labels; sample weights count as repeated rows."""
        features, labels = validate_data(self, X, y)
        check_classification_targets(labels)
        if (kind := type_of_target(labels, input_name="y")) != "binary":
            raise ValueError(
                f"Only binary classification is supported. The type of the target is {kind}."
            )
        self.classes_, label = np.unique(labels, return_inverse=True)
        if len(self.classes_) != 2:
            only = self.classes_.tolist()[0]
            raise ValueError(f"y has one class only, {only!r}; a fit needs two.")
        weight = _check_sample_weight(sample_weight, features, ensure_non_negative=True)
        candidate = Candidate("network", self.alpha, tuple(self.hidden))
        self.network_ = train(_merged(features, label, weight), candidate, self._seed())
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Chance of each class, shape (num_rows, 2); NotFittedError before a fit."""
        check_is_fitted(self, "network_")
        second = self.network_.predict_many(validate_data(self, X, reset=False))
        return np.stack([1 - second, second], axis=1)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The likelier class of each row."""
        second = self.predict_proba(X)[:, 1]
        labels: NDArray[Any] = self.classes_[(second > 0.5).astype(int)]
        return labels

    def __call__(self, features: Any) -> Any:
        is_torch = type(features).__module__.partition(".")[0] == "torch"
        rows = np.asarray(features.detach().cpu().numpy() if is_torch else features, dtype=float)
        network = self._network()
        width = len(network.mean)
        if rows.ndim not in (1, 2) or rows.shape[-1] != width:
            raise ValueError(
                f"features have shape {rows.shape}; give ({width},) or (num_rows, {width})."
            )
        chance = sigmoid(network.scores(np.atleast_2d(rows)))
        chance = chance[0] if rows.ndim == 1 else chance
        return features.new_tensor(chance) if is_torch else np.asarray(chance)

    def _network(self) -> FittedPredictor:
        if hasattr(self, "network_"):
            return self.network_
        if not hasattr(self, "_warned"):
            self._warned = True
            warnings.warn(
                "this QualityPredictor is not fitted: its values mean nothing yet; call fit.",
                UserWarning,
                stacklevel=3,
            )
        return untrained(self.feature_dim, tuple(self.hidden), self._seed())

    def _seed(self) -> int:
        if isinstance(self.random_state, int):
            return self.random_state
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags


def _merged(
    features: NDArray[np.floating], label: NDArray[np.int64], weight: NDArray[np.float64]
) -> Labelled:
    """Equal rows as one with their summed weight: so a weight is the same as repeated rows."""
    rows, place = np.unique(np.column_stack([features, label]), axis=0, return_inverse=True)
    total = np.bincount(place.ravel(), weights=weight).astype(np.float64)
    rows, total = rows[total > 0], total[total > 0]
    return Labelled(rows[:, :-1].astype(np.float64), rows[:, -1].astype(np.int64), total)
