"""What the predictors look at: how much worse they are without each piece of evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.inspection import permutation_importance

from adaptive_sd.decision.calibration import brier_score
from adaptive_sd.decision.features import FEATURE_NAMES
from adaptive_sd.decision.network import FittedPredictor
from adaptive_sd.offline.replay.field import Subject

_TOGETHER = {"form_": "task form", "hidden_": "hidden state"}
"""Columns by the beginning of their name that are one piece of evidence."""

_NUM_REPEATS = 5
_MAX_PROMPTS = 2000


class Importance(NamedTuple):
    """By how much the Brier score rises when this evidence is shuffled between prompts."""

    evidence: str
    rise: float
    deviation: float  # over the shuffles


@dataclass(frozen=True, slots=True)
class StageImportance:
    """Most important first; evidence that is the same for all prompts is left out."""

    stage: str
    brier: float  # on the same prompts, nothing shuffled
    rows: tuple[Importance, ...]


def measure_importance(
    subject: Subject, *, rng: np.random.Generator
) -> tuple[StageImportance, ...]:
    """Permutation importance on prompts that the predictors were not fitted on."""
    table = subject.table
    chosen = np.sort(rng.permutation(len(table.quality))[:_MAX_PROMPTS])
    seed = int(rng.integers(2**31))
    found = []
    for k, predictor in enumerate(subject.predictors):
        features, quality = table.features[chosen, k], table.quality[chosen, k]
        groups = _groups(features, predictor)
        estimator = _ByGroup(predictor, features, tuple(groups.values()))
        rows: list[Importance] = []
        if groups:
            result = permutation_importance(
                estimator,
                np.tile(np.arange(len(chosen))[:, None], len(groups)),
                quality,
                scoring=_minus_brier,
                n_repeats=_NUM_REPEATS,
                random_state=seed,
            )
            means, deviations = result.importances_mean, result.importances_std
            rows = [Importance(*row) for row in zip(groups, means, deviations, strict=True)]
        rows.sort(key=lambda row: -row.rise)
        brier = brier_score(predictor.predict_many(features), quality)
        found.append(StageImportance(subject.outcomes.stages[k].name, brier, tuple(rows)))
    return tuple(found)


def _groups(
    features: NDArray[np.float32], predictor: FittedPredictor
) -> dict[str, NDArray[np.int64]]:
    """Columns of each piece of evidence, of those that vary and that the predictor uses."""
    used = (features.std(axis=0) > 0) & (predictor.scale != 0)
    groups: dict[str, list[int]] = {}
    for column in np.flatnonzero(used).tolist():
        name = FEATURE_NAMES[column]
        together = (title for start, title in _TOGETHER.items() if name.startswith(start))
        groups.setdefault(next(together, name), []).append(column)
    return {name: np.array(columns) for name, columns in groups.items()}


@dataclass(frozen=True, slots=True, eq=False)
class _ByGroup:
    """For scikit-learn: a column of its X is a whole group, and holds the rows to take it from."""

    predictor: FittedPredictor
    features: NDArray[np.float32]
    groups: tuple[NDArray[np.int64], ...]

    def fit(self, X: object, y: object) -> Self:
        return self

    def predict(self, X: NDArray[np.int64]) -> NDArray[np.float64]:
        taken = self.features.copy()
        for columns, rows in zip(self.groups, X.T, strict=True):
            taken[:, columns] = self.features[rows][:, columns]
        return self.predictor.predict_many(taken)


def _minus_brier(estimator: _ByGroup, X: NDArray[np.int64], y: NDArray[np.float64]) -> float:
    return -brier_score(estimator.predict(X), y)
