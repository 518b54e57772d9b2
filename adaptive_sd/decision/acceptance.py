"""How readily a target accepts an earlier stage's draft, learned from recordings."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.calibration import fit_logistic
from adaptive_sd.types import Acceptance


class Agreements(NamedTuple):
    """Where an answer's last tokens stood in a draft, and whether its next one was the draft's."""

    num_matching: NDArray[np.int64]  # (n,) tokens that matched, 0 before the first
    surety: NDArray[np.float64]  # (n,) of the draft's stage, of its next token
    agreed: NDArray[np.bool_]  # (n,)


def fit_acceptance(agreements: Agreements, prior: Acceptance, strength: float) -> Acceptance:
    """Logistic regression of `agreed` with a normal prior of precision `strength` on each weight.

    Rows of one answer depend on each other, so the prior should count for many of them.
    """
    length = np.log1p(agreements.num_matching)
    design = np.stack(
        [
            np.ones_like(length),
            length,
            agreements.surety,
            length * agreements.surety,
            (agreements.num_matching == 0).astype(np.float64),
            (agreements.num_matching == 1).astype(np.float64),
        ],
        axis=1,
    )
    weights = fit_logistic(
        design,
        agreements.agreed.astype(np.float64),
        mean=np.array(prior),
        precision=np.full(len(prior), strength),
    )
    return Acceptance(*weights.tolist())
