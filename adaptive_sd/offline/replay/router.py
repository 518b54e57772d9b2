"""A router: one stage, chosen from the prompt alone, and only that one is paid."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import Ridge

from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.folds import make_folds
from adaptive_sd.decision.loss import loss_of
from adaptive_sd.offline.prompts import prompt_texts
from adaptive_sd.offline.replay.chances import NUM_FOLDS, Chances
from adaptive_sd.offline.replay.dials import Dials, Run
from adaptive_sd.offline.replay.halves import Halves
from adaptive_sd.offline.replay.over_lams import rule_over_lams

FloatArray = NDArray[np.float64]
_NUM_HASHES = 2**14
_PENALTIES = (1.0, 3.0, 10.0, 30.0, 100.0, 1000.0)


class RoutedQuality(NamedTuple):
    """Each stage's quality from the prompt alone, shape (num_prompts, num_stages) on each half."""

    fit: FloatArray  # out of fold
    test: FloatArray


def router(halves: Halves, chances: Chances, *, rng: np.random.Generator) -> Dials:
    """The least cost + lam * (1 - q), of estimates from the prompt; lam is the dial."""
    routed = fit_routed_quality(halves, rng=rng)
    fit_cost, test_cost = chances.fit[()].cost, chances.test[()].cost
    return rule_over_lams(
        halves,
        lambda lam: run_router(halves.fit, loss_of(fit_cost, routed.fit, lam)),
        lambda lam: run_router(halves.test, loss_of(test_cost, routed.test, lam)),
    )


def run_router(table: FitTable, losses: FloatArray) -> Run:
    chosen = losses.argmin(axis=1)
    rows = np.arange(len(chosen))
    return Run(table.quality[rows, chosen], table.cost[rows, chosen], np.zeros(len(chosen)))


def fit_routed_quality(halves: Halves, *, rng: np.random.Generator) -> RoutedQuality:
    """Ridge regression; one penalty for all stages, chosen out of fold."""
    quality = halves.fit.quality
    folds = make_folds(len(quality), NUM_FOLDS, rng=rng, groups=halves.fit.group)
    rows, unseen = _design(halves)
    tried = {p: _out_of_fold(rows, quality, folds, p) for p in _PENALTIES}
    penalty = min(_PENALTIES, key=lambda p: float(((tried[p] - quality) ** 2).mean()))
    return RoutedQuality(
        np.clip(tried[penalty], 0, 1), np.clip(_predict(rows, quality, unseen, penalty), 0, 1)
    )


def _out_of_fold(
    rows: scipy.sparse.csr_matrix, quality: FloatArray, folds: NDArray[np.int64], penalty: float
) -> FloatArray:
    found = np.empty_like(quality)
    for fold in range(NUM_FOLDS):
        out = folds == fold
        found[out] = _predict(rows[~out], quality[~out], rows[out], penalty)
    return found


def _predict(
    rows: scipy.sparse.csr_matrix,
    quality: FloatArray,
    unseen: scipy.sparse.csr_matrix,
    penalty: float,
) -> FloatArray:
    model = Ridge(alpha=penalty, solver="sparse_cg", tol=1e-6).fit(rows, quality)
    found: FloatArray = model.predict(unseen).reshape(unseen.shape[0], -1)
    return found


def _design(halves: Halves) -> tuple[scipy.sparse.csr_matrix, scipy.sparse.csr_matrix]:
    """Form and lengths, standardised; category; words and pairs of words, hashed."""
    dense = halves.fit.prompt_features.astype(np.float64)
    mean, deviation = dense.mean(axis=0), dense.std(axis=0)
    scale = np.where(deviation > 1e-9, 1 / np.maximum(deviation, 1e-9), 0.0)
    known = sorted(set(_categories(halves.fit_outcomes)))
    words = HashingVectorizer(n_features=_NUM_HASHES, ngram_range=(1, 2), alternate_sign=False)

    def design(table: FitTable, outcomes: OutcomeTable) -> scipy.sparse.csr_matrix:
        category = np.array(_categories(outcomes), dtype=object)[:, None] == known
        return scipy.sparse.hstack(
            [
                scipy.sparse.csr_matrix((table.prompt_features - mean) * scale),
                scipy.sparse.csr_matrix(category.astype(np.float64)),
                words.transform(prompt_texts(outcomes)),
            ],
            format="csr",
        )

    return design(halves.fit, halves.fit_outcomes), design(halves.test, halves.test_outcomes)


def _categories(outcomes: OutcomeTable) -> list[str]:
    column = outcomes.columns.get("category")
    return [""] * len(outcomes.prompt_ids) if column is None else [str(c) for c in column[:, 0]]
