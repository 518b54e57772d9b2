"""The guard of abandoning: a policy that never does so, wherever it is not shown to pay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.induction import InductionFit
from adaptive_sd.decision.noise import noise_among, noise_units
from adaptive_sd.decision.states import held_of, later_stages


def abandon_where_it_pays(
    draws: Sequence[InductionFit],
    plain: InductionFit,
    group: NDArray[np.int64] | None,
) -> list[InductionFit]:
    """The draws at the lambdas where they lose less in the mean than `plain`, beyond noise.

    Elsewhere `plain`, which abandons no draft. The noise is that of all lambdas: what is shown at
    one of many was mostly luck.
    """
    losses = np.mean([fit.losses for fit in draws], axis=0)
    pays = noise_units(plain.losses, losses, group) > noise_among(losses.shape[1])
    return [_merged(draw, plain, pays) for draw in draws]


def _merged(ours: InductionFit, plain: InductionFit, pays: NDArray[np.bool_]) -> InductionFit:
    """Ours at some lambdas of the grid."""
    policy, stages = ours.policy, ours.policy.stages
    weights = []
    for index, (own, other) in enumerate(zip(policy.weights, plain.policy.weights, strict=True)):
        held = held_of(index, stages)
        outputs = np.tile(pays, 2 * len(later_stages(held, stages)))
        chosen = np.concatenate([np.ones(len(held), dtype=np.bool_), outputs])
        weights.append(np.where(chosen, own, other))
    savings = {key: np.where(pays, saving, 0.0) for key, saving in policy.savings.items()}
    return InductionFit(
        replace(policy, weights=tuple(weights), savings=savings),
        np.where(pays, ours.quality, plain.quality),
        np.where(pays, ours.cost, plain.cost),
        np.where(pays, ours.stage, plain.stage),
        np.where(pays[:, None], ours.run_share, plain.run_share),
        plain.is_myopic & ~pays,
    )
