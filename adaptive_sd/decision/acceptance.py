"""How much of an earlier stage's draft a target accepts, learned from recordings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import betaln

from adaptive_sd.types import Acceptance


def fit_acceptance(num_agreed: NDArray[np.int64], num_drafted: NDArray[np.int64]) -> Acceptance:
    """Maximum-likelihood Beta of the chance of each next token, drawn once an answer.

    `num_agreed` (n,) tokens of a draft of `num_drafted` (n,) agreed before the first that did
    not: P(m agree, then one not) = B(a + m, b + 1) / B(a, b), and B(a + m, b) / B(a, b) where the
    whole draft agreed. A weak prior holds both parameters near 1 when rows are few.
    """
    rejected = (num_agreed < num_drafted).astype(float)
    agreed = num_agreed.astype(float)

    def loss(log_parameters: NDArray[np.float64]) -> float:
        a, b = np.exp(log_parameters)
        likelihood = (betaln(a + agreed, b + rejected) - betaln(a, b)).sum()
        return float(-likelihood + 0.1 * (log_parameters**2).sum())

    best = minimize(loss, np.zeros(2), method="Nelder-Mead", options={"maxiter": 400})
    accepted, not_accepted = np.exp(np.clip(best.x, -5, 5))
    return Acceptance(float(accepted), float(not_accepted))
