"""Fitted backward induction: the value of going on, learned from recorded outcomes.

State: the set of stages whose drafts are held. For each state and each later stage two ridge
regressions give, on a grid of lambda, the quality and the cost to go of running that stage and
then following the policy (contract: "Lambda and loss"; least-squares Monte Carlo after Longstaff
and Schwartz 2001). Everything a decision rests on is out of fold.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV

from adaptive_sd.decision.policies import Choice, Evidence, best_held, check_lam, compare

State = tuple[int, ...]
NUM_GRID = 24
_RIDGE = tuple(np.logspace(-1, 4, 11))


@dataclass(frozen=True, slots=True, eq=False)
class FitTable:
    """Recorded outcomes of N prompts on K stages.

    quality, estimate (N, K): measured and (out of fold) estimated; cost (N, K) of a fresh answer;
    cost_after (N, K, K): of stage k after stage j's draft; agree (N, K, K): same answer;
    prompt (N, P): features known before any draft; fold (N,).
    """

    names: tuple[str, ...]
    quality: NDArray[np.float64]
    estimate: NDArray[np.float64]
    cost: NDArray[np.float64]
    cost_after: NDArray[np.float64]
    agree: NDArray[np.bool_]
    prompt: NDArray[np.float32]
    fold: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class InducedPolicy:
    """Values to go for each (state, next stage): weights (2, d, G) for quality and cost."""

    names: tuple[str, ...]
    grid: NDArray[np.float64]
    weights: dict[tuple[State, int], NDArray[np.float64]]

    def decide(self, evidence: Evidence, lam: float) -> Choice:
        """Raises ConfigError for a lambda outside the grid."""
        check_lam(lam, float(self.grid[-1]))
        state = tuple(h.stage for h in evidence.held)
        phi = _phi_of(evidence)
        g, share = _grid_position(self.grid, lam)
        go = {}
        for j in range(state[-1] + 1 if state else 0, len(self.names)):
            weights = self.weights[state, j]
            quality, cost = (
                phi @ weights[:, :, g] * (1 - share) + phi @ weights[:, :, g + 1] * share
            )
            go[j] = float(max(cost, 0.0) + lam * (1 - min(max(quality, 0.0), 1.0)))
        if not state:
            return compare(None, None, go, self.names)
        best = best_held(evidence.held)
        return compare(lam * (1 - best.quality), best, go, self.names)


class InductionFit(NamedTuple):
    """A policy, and what it realised out of fold at each grid point, (N, G) each."""

    policy: InducedPolicy
    quality: NDArray[np.float64]
    cost: NDArray[np.float64]
    stage: NDArray[np.int64]


def _grid_position(grid: NDArray[np.float64], lam: float) -> tuple[int, float]:
    """Grid point below `lam` and the share of the next one, linear in lambda."""
    g = int(np.clip(np.searchsorted(grid, lam, side="right") - 1, 0, grid.size - 2))
    return g, float((lam - grid[g]) / (grid[g + 1] - grid[g]))


def lam_grid(cost: NDArray[np.float64]) -> NDArray[np.float64]:
    """0, then NUM_GRID points from where cost decides alone to where quality does."""
    mean = cost.mean(axis=0)
    return np.concatenate([[0.0], np.geomspace(mean.min() / 2, 100 * mean.max(), NUM_GRID)])


def _phi_of(evidence: Evidence) -> NDArray[np.float64]:
    estimates = np.array([[h.quality for h in evidence.held]])
    pairs = itertools.combinations(evidence.held, 2)
    agree = [bool(a.answer) and a.answer == b.answer for a, b in pairs]
    return _phi(evidence.prompt[None], estimates, np.array([agree], bool))[0]


def _phi(
    prompt: NDArray[np.float32], estimate: NDArray[np.float64], agree: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Regressors (n, d): 1, the prompt, log odds and estimates of the held, agreement by pair."""
    n, num_held = estimate.shape
    columns = [np.ones((n, 1)), prompt]
    if num_held:
        bounded = np.clip(estimate, 1e-4, 1 - 1e-4)
        columns += [np.log(bounded / (1 - bounded)), estimate, agree.reshape(n, -1)]
        columns.append(prompt * estimate[:, -1:])
    if num_held > 1:
        columns.append(estimate.max(axis=1, keepdims=True))
    return np.concatenate(columns, axis=1).astype(np.float64)


def fit_induction(table: FitTable) -> InductionFit:
    """Fit from the largest states down; deterministic."""
    num_stages = len(table.names)
    grid = lam_grid(table.cost)
    weights: dict[tuple[State, int], NDArray[np.float64]] = {}
    realised: dict[State, _Realised] = {}
    states = [
        s
        for size in range(num_stages, -1, -1)
        for s in itertools.combinations(range(num_stages), size)
    ]
    for state in states:
        realised[state] = _solve_state(table, grid, state, realised, weights)
    start = realised[()]
    policy = InducedPolicy(table.names, grid, weights)
    return InductionFit(policy, start.quality, start.cost, start.stage)


class _Realised(NamedTuple):
    """What following the policy from a state gave each prompt at each lambda, (N, G) each."""

    quality: NDArray[np.float64]
    cost: NDArray[np.float64]
    stage: NDArray[np.int64]


def _solve_state(
    table: FitTable,
    grid: NDArray[np.float64],
    state: State,
    realised: dict[State, _Realised],
    weights: dict[tuple[State, int], NDArray[np.float64]],
) -> _Realised:
    """Choose by out-of-fold values between stopping and each later stage; store full weights."""
    shape = (table.quality.shape[0], grid.size)
    loss, result = _stop(table, grid, state, shape)
    phi = _phi(
        table.prompt,
        table.estimate[:, list(state)],
        np.array([table.agree[:, i, j] for i, j in itertools.combinations(state, 2)]).T,
    )
    for j in range(state[-1] + 1 if state else 0, len(table.names)):
        after = realised[(*state, j)]
        own = table.cost_after[:, state[-1], j] if state else table.cost[:, j]
        cost = after.cost + own[:, None]
        targets = np.concatenate([after.quality, cost], axis=1)
        estimate, weights[state, j] = _regress(phi, targets, table.fold)
        quality_hat = np.clip(estimate[:, : grid.size], 0, 1)
        go = np.maximum(estimate[:, grid.size :], 0) + grid * (1 - quality_hat)
        better = go < loss
        loss = np.where(better, go, loss)
        result = _Realised(
            np.where(better, after.quality, result.quality),
            np.where(better, cost, result.cost),
            np.where(better, after.stage, result.stage),
        )
    return result


def _stop(
    table: FitTable, grid: NDArray[np.float64], state: State, shape: tuple[int, int]
) -> tuple[NDArray[np.float64], _Realised]:
    """Estimated loss of stopping, and the realised quality of the draft that would be returned."""
    if not state:
        nothing = np.zeros(shape)
        return np.full(shape, np.inf), _Realised(nothing, nothing, np.zeros(shape, np.int64))
    held = table.estimate[:, list(state)]
    at = held.shape[1] - 1 - np.argmax(held[:, ::-1], axis=1)  # of equals the later stage
    stage = np.array(state)[at]
    rows = np.arange(shape[0])
    loss = grid * (1 - held[rows, at])[:, None]
    quality = np.broadcast_to(table.quality[rows, stage][:, None], shape)
    return loss, _Realised(quality, np.zeros(shape), np.broadcast_to(stage[:, None], shape))


def _regress(
    phi: NDArray[np.float64], targets: NDArray[np.float64], fold: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Out-of-fold predictions (N, 2G), and weights (2, d, G) fitted on all rows."""
    estimate = np.empty_like(targets)
    for k in np.unique(fold):
        out = fold == k
        estimate[out] = phi[out] @ _ridge(phi[~out], targets[~out])
    both = _ridge(phi, targets)
    return estimate, np.stack(np.split(both, 2, axis=1))


def _ridge(phi: NDArray[np.float64], targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights (d, outputs) of ridge regression; column 0 of `phi` is the constant."""
    mean, scale = phi[:, 1:].mean(axis=0), phi[:, 1:].std(axis=0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    model = RidgeCV(alphas=_RIDGE).fit((phi[:, 1:] - mean) / scale, targets)
    slopes = np.atleast_2d(model.coef_).T / scale[:, None]
    return np.concatenate([(model.intercept_ - mean @ slopes)[None], slopes])
