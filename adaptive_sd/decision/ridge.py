"""Ridge regression of many outputs on the same rows, out of fold, from sums of products."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from adaptive_sd.decision.standard import Standard

FloatArray = NDArray[np.float64]

_STRENGTHS = np.logspace(-2, 5, 15)
_NEIGHBOURS = 5


class RidgeFit(NamedTuple):
    """Weights fitted on all rows, and the predictions of those fitted without each row's fold."""

    weights: FloatArray  # (num_features, num_outputs)
    out_of_fold: FloatArray  # (num_rows, num_outputs)


class FoldedRidge:
    """Rows of features, of which the first is the constant 1; each fold is left out in turn."""

    def __init__(self, rows: FloatArray, folds: NDArray[np.int64]) -> None:
        self._standard = Standard.of(rows)
        self._members = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
        self._blocks = [self._standard.rows(rows[m]) for m in self._members]
        self._sums = [block.sum(axis=0) for block in self._blocks]
        self._grams = [block.T @ block for block in self._blocks]

    def fit(self, targets: FloatArray) -> RidgeFit:
        """One penalty for each output, by generalised cross-validation.

        Neighbours, as settings of a dial are, choose together.
        """
        parts = [
            _Sums(
                np.array(float(len(block))),
                rows,
                gram,
                wanted.sum(axis=0),
                block.T @ wanted,
                (wanted**2).sum(axis=0),
            )
            for block, rows, gram, wanted in zip(
                self._blocks,
                self._sums,
                self._grams,
                map(targets.__getitem__, self._members),
                strict=True,
            )
        ]
        total = functools.reduce(_Sums.plus, parts)
        out_of_fold = np.empty_like(targets)
        for member, block, part in zip(self._members, self._blocks, parts, strict=True):
            intercept, slopes = _solve(total.minus(part))
            out_of_fold[member] = block @ slopes + intercept
        intercept, slopes = _solve(total)
        return RidgeFit(self._standard.weights(intercept, slopes), out_of_fold)


class _Sums(NamedTuple):
    """Sums over rows, which add up over folds."""

    num_rows: FloatArray  # ()
    rows: FloatArray  # (features,)
    gram: FloatArray  # (features, features)
    targets: FloatArray  # (outputs,)
    products: FloatArray  # (features, outputs)
    squares: FloatArray  # (outputs,)

    def plus(self, other: _Sums) -> _Sums:
        return _Sums(*map(np.add, self, other))

    def minus(self, other: _Sums) -> _Sums:
        return _Sums(*map(np.subtract, self, other))


def _solve(sums: _Sums) -> tuple[FloatArray, FloatArray]:
    """Intercepts, not penalised, and slopes."""
    mean, target_mean = sums.rows / sums.num_rows, sums.targets / sums.num_rows
    gram = sums.gram - sums.num_rows * np.outer(mean, mean)
    products = sums.products - sums.num_rows * np.outer(mean, target_mean)
    squares = np.maximum(sums.squares - sums.num_rows * target_mean**2, 0.0)
    eigenvalues, vectors = np.linalg.eigh(gram)
    eigenvalues = np.maximum(eigenvalues, 0.0)
    rotated = vectors.T @ products
    errors = [
        _gcv(strength, eigenvalues, rotated, squares, float(sums.num_rows))
        for strength in _STRENGTHS
    ]
    strengths = _STRENGTHS[uniform_filter1d(errors, _NEIGHBOURS, mode="nearest").argmin(axis=0)]
    slopes = vectors @ (rotated / (eigenvalues[:, None] + strengths))
    return target_mean - mean @ slopes, slopes


def _gcv(
    strength: float,
    eigenvalues: FloatArray,
    rotated: FloatArray,
    squares: FloatArray,
    count: float,
) -> FloatArray:
    """Relative squared error of each output by generalised cross-validation."""
    shrunk = eigenvalues + strength
    explained = (rotated**2 * ((shrunk + strength) / shrunk**2)[:, None]).sum(axis=0)
    freedom = 1 + (eigenvalues / shrunk).sum()
    if freedom >= count:
        return np.full(len(squares), np.inf)
    left = np.maximum(squares - explained, 0.0)
    relative = np.divide(left, squares, out=np.zeros_like(left), where=squares > 0)
    error: FloatArray = relative / (1 - freedom / count) ** 2
    return error
