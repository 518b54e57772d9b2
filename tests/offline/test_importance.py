"""Importance names the evidence that a predictor rests on."""

from __future__ import annotations

import numpy as np

from adaptive_sd.decision.features import FEATURE_DIM, STATISTIC_NAMES
from adaptive_sd.decision.selection import PredictorFit, fit_predictor
from adaptive_sd.decision.training import Candidate
from adaptive_sd.offline.importance import permutation_importance

MEAN, LENGTH = (STATISTIC_NAMES.index(name) for name in ("logprob_mean", "log_tokens_out"))

HIDDEN = len(STATISTIC_NAMES)
X = {"signal_x": FEATURE_DIM - 1}


def fitted(quality: np.ndarray, features: np.ndarray) -> PredictorFit:
    rng = np.random.default_rng(0)
    return fit_predictor(features, quality, rng=rng, candidates=[Candidate("all", 3.0)])


def test_what_tells_comes_first_and_what_does_not_hardly_counts() -> None:
    rng = np.random.default_rng(0)
    features = np.zeros((400, FEATURE_DIM), np.float32)
    columns = [MEAN, LENGTH, HIDDEN, HIDDEN + 1, FEATURE_DIM - 1]
    features[:, columns] = rng.normal(size=(400, 5))
    told = 2 * features[:, MEAN] + features[:, HIDDEN] + features[:, HIDDEN + 1]
    quality = (rng.random(400) < 1 / (1 + np.exp(-told))).astype(float)
    fit = fitted(quality, features)
    found = permutation_importance(
        fit.score_unseen, features, quality, X, rng=np.random.default_rng(1)
    )
    assert list(found) == ["logprob_mean", "hidden", *sorted(found, key=found.__getitem__)[1::-1]]
    assert set(found) == {"logprob_mean", "hidden", "log_tokens_out", "signal_x"}
    assert found["hidden"] > 0.05
    assert abs(found["log_tokens_out"]) < 0.02
    again = permutation_importance(
        fit.score_unseen, features, quality, X, rng=np.random.default_rng(1)
    )
    assert found == again


def test_where_all_answers_are_right_nothing_can_be_told() -> None:
    features = np.random.default_rng(0).normal(size=(60, FEATURE_DIM)).astype(np.float32)
    fit = fitted(np.ones(60), features)
    rng = np.random.default_rng(0)
    assert permutation_importance(fit.score_unseen, features, np.ones(60), {}, rng=rng) == {}
