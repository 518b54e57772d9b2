"""Chooses among candidate predictors by cross-validation and calibrates the chosen one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adaptive_sd.decision.calibration import (
    Interval,
    auc,
    bootstrap,
    brier_score,
    expected_calibration_error,
    fit_calibration,
    fit_platt,
    log_loss,
)
from adaptive_sd.decision.features import FEATURE_DIM, STATISTIC_NAMES
from adaptive_sd.decision.folds import make_folds
from adaptive_sd.decision.network import FittedPredictor
from adaptive_sd.decision.training import Candidate, soft_labels, train
from adaptive_sd.errors import DataError

FloatArray = NDArray[np.float64]

_NONE = Interval(float("nan"), float("nan"), float("nan"))
HIDDEN = (128, 64)
CANDIDATES = (
    *(
        Candidate(f"logistic on statistics, alpha {a:g}", a, (), len(STATISTIC_NAMES))
        for a in (3.0, 30.0, 300.0)
    ),
    *(Candidate(f"logistic on all, alpha {a:g}", a) for a in (3.0, 30.0, 300.0)),
    *(Candidate(f"network, alpha {a:g}", a, HIDDEN) for a in (10.0, 50.0)),
)
"""Simplest first: the first of equals is chosen."""

SELECTION_ROWS = 10_000
"""At most so many decide which candidate is fitted on all: the search takes forty fits a stage."""


@dataclass(frozen=True, slots=True)
class PredictorReport:
    """Out of fold, after calibration; `log_losses` are each candidate's, before the choice.

    The AUC is nan where all rows have the same features: what differs then is the fold, not them.
    """

    candidate: str
    calibration: str
    num_rows: int
    log_losses: dict[str, float]
    auc: Interval
    brier: Interval
    ece: Interval


class PredictorFit(NamedTuple):
    """A predictor fitted on all rows, and what others fitted like it said of rows unseen."""

    predictor: FittedPredictor
    estimates: FloatArray  # (num_rows,), out of fold and calibrated
    report: PredictorReport
    networks: tuple[FittedPredictor, ...]  # fitted without each fold, not calibrated
    folds: NDArray[np.int64]  # (num_rows,)

    def score_unseen(self, rows: NDArray[np.int64], features: NDArray[np.floating]) -> FloatArray:
        """Scores of these rows with these features, each by the network that has not seen it."""
        return unseen_scores(self.networks, self.folds[rows], features)


def fit_predictor(
    features: NDArray[np.floating],
    quality: ArrayLike,
    *,
    rng: np.random.Generator,
    groups: ArrayLike | None = None,
    num_folds: int = 5,
    candidates: Sequence[Candidate] = CANDIDATES,
) -> PredictorFit:
    """Fit on `features` (num_rows, num_features) and `quality` (num_rows,) in [0, 1].

    Rows of one group (of one prompt) are never on both sides of a fold. Raises DataError for
    values out of range or too few rows.
    """
    seen = _checked(features, quality)
    seed = int(rng.integers(2**31))
    folds = make_folds(len(seen), num_folds, rng=rng, groups=groups)
    chosen_from = np.sort(rng.permutation(len(seen))[:SELECTION_ROWS])
    losses = {
        c.name: _cross_validated_loss(
            c, features[chosen_from], seen[chosen_from], folds[chosen_from], seed
        )
        for c in candidates
    }
    chosen = min(candidates, key=lambda c: losses[c.name])
    networks = _fold_networks(chosen, features, seen, folds, seed)
    scores = unseen_scores(networks, folds, features)
    estimates = np.empty(len(seen))
    for fold in range(num_folds):
        held_out = folds == fold
        calibration = fit_calibration(scores[~held_out], seen[~held_out])
        estimates[held_out] = calibration.apply(scores[held_out])
    calibration = fit_calibration(scores, seen)
    network = train(soft_labels(features, seen), chosen, seed)
    predictor = _single_precision(replace(network, calibration=calibration))
    tells = bool((features != features[:1]).any())
    report = PredictorReport(
        candidate=chosen.name,
        calibration="Platt" if calibration.scores is None else "isotonic",
        num_rows=len(seen),
        log_losses=losses,
        auc=bootstrap(auc, estimates, seen, rng=rng, groups=groups) if tells else _NONE,
        brier=bootstrap(brier_score, estimates, seen, rng=rng, groups=groups),
        ece=bootstrap(expected_calibration_error, estimates, seen, rng=rng, groups=groups),
    )
    return PredictorFit(predictor, estimates, report, networks, folds)


def _checked(features: NDArray[np.floating], quality: ArrayLike) -> FloatArray:
    seen = np.asarray(quality, dtype=np.float64)
    if features.ndim != 2 or seen.shape != features.shape[:1]:
        raise DataError(f"features {features.shape} and quality {seen.shape} do not match.")
    if features.shape[1] != FEATURE_DIM:
        raise DataError(f"features have {features.shape[1]} columns, not {FEATURE_DIM}.")
    valid = (seen >= 0) & (seen <= 1)
    if not valid.all():
        row = int(np.argmin(valid))
        raise DataError(f"quality of row {row} is {seen[row]}; it must be between 0 and 1.")
    if not np.isfinite(features).all():
        row, column = np.argwhere(~np.isfinite(features))[0]
        raise DataError(f"feature {column} of row {row} is {features[row, column]}.")
    return seen


def _fold_networks(
    candidate: Candidate,
    features: NDArray[np.floating],
    quality: FloatArray,
    folds: NDArray[np.int64],
    seed: int,
) -> tuple[FittedPredictor, ...]:
    """One for each fold, fitted without it."""
    kept = [folds != fold for fold in range(int(folds.max()) + 1)]
    return tuple(train(soft_labels(features[k], quality[k]), candidate, seed) for k in kept)


def unseen_scores(
    networks: Sequence[FittedPredictor],
    folds: NDArray[np.int64],
    features: NDArray[np.floating],
) -> FloatArray:
    """Scores, shape (num_rows,), of each row by the network that was fitted without its fold."""
    scores = np.empty(len(folds))
    for fold, network in enumerate(networks):
        scores[folds == fold] = network.scores(features[folds == fold])
    return scores


def _cross_validated_loss(
    candidate: Candidate,
    features: NDArray[np.floating],
    quality: FloatArray,
    folds: NDArray[np.int64],
    seed: int,
) -> float:
    """After Platt's two numbers, since the choice is between calibrated predictors."""
    networks = _fold_networks(candidate, features, quality, folds, seed)
    scores = unseen_scores(networks, folds, features)
    return log_loss(fit_platt(scores, quality).apply(scores), quality)


def _single_precision(network: FittedPredictor) -> FittedPredictor:
    """Half the memory traffic in every decision."""
    return replace(
        network,
        mean=network.mean.astype(np.float32),
        scale=network.scale.astype(np.float32),
        weights=tuple(w.astype(np.float32) for w in network.weights),
        biases=tuple(b.astype(np.float32) for b in network.biases),
    )
