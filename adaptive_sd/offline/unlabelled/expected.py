"""What a ladder will do to prompts like those it was fitted on, by fits that did not see them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.alone import with_safest
from adaptive_sd.decision.calibration import Interval
from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.folds import make_folds
from adaptive_sd.decision.guarded import GuardedPolicy
from adaptive_sd.decision.rollout import roll_out_all
from adaptive_sd.forms import Form
from adaptive_sd.offline.answers import prompt_views
from adaptive_sd.offline.fit import fit_ladder
from adaptive_sd.offline.prompts import prompt_groups
from adaptive_sd.offline.replay.adaptive import cost_on
from adaptive_sd.offline.replay.halves import see
from adaptive_sd.offline.replay.measure import Prompts, all_means, interval
from adaptive_sd.offline.replay.over_lams import spread

FloatArray = NDArray[np.float64]

_NUM_PARTS = 5
_NUM_DIALS = 6
_PLACES = 24


class Expected(NamedTuple):
    """At one lambda: means over prompts with 95 % intervals; cost as a share of always-largest."""

    lam: float
    cost_share: Interval
    quality: Interval
    escalation_rate: Interval


class Unseen(NamedTuple):
    """Of policies that have not seen the prompts: shape (num_prompts, num_lams) each."""

    quality: FloatArray
    cost: FloatArray
    escalated: FloatArray


def spread_lams(policy: GuardedPolicy, table: FitTable) -> list[float]:
    """Up to _NUM_DIALS lambdas, ascending, whose costs lie about evenly."""
    low, high = policy.lam_grid[[1, -1]].tolist()
    cost_of = functools.cache(cost_on(policy, table))
    lams = spread(cost_of, low, high, _PLACES)
    costs = np.array([cost_of(lam) for lam in lams])
    wanted = np.linspace(costs.min(), costs.max(), _NUM_DIALS)
    return sorted({lams[int(np.abs(costs - cost).argmin())] for cost in wanted})


def make_parts(table: OutcomeTable, *, seed: int) -> NDArray[np.int64]:
    """A fifth for each prompt, the same for equal texts."""
    rng = np.random.default_rng([seed, 9])  # apart from the fit's draws
    return make_folds(len(table.prompt_ids), _NUM_PARTS, rng=rng, groups=prompt_groups(table))


def outcome_unseen(
    table: OutcomeTable,
    covered: Sequence[Form],
    lams: Sequence[float],
    parts: NDArray[np.int64],
    *,
    top: int,
    safe: bool,
    seed: int,
    say: Callable[[str], None],
) -> Unseen:
    """Each part of the prompts by a ladder fitted on the others, `safe` as fits with a promise.

    Prompts of forms that are not `covered` are those of the stage `top`, as they will be. A lambda
    above the grid of a part is that grid's last one.
    """
    shape = (len(table.prompt_ids), len(lams))
    found = Unseen(*(np.empty(shape) for _ in Unseen._fields))
    num_parts = int(parts.max()) + 1
    for part in range(num_parts):
        say(f"fitting without part {part + 1} of {num_parts}, to see what it does to it unseen")
        rows = np.flatnonzero(parts == part)
        ladder = fit_ladder(table.take(np.flatnonzero(parts != part)), seed=seed)
        fitted = with_safest(ladder.policy, ladder.seen) if safe else ladder.policy
        policy = fitted.policy
        predictors = [fit.predictor for fit in ladder.predictors]
        seen = see(table.take(rows), predictors, ladder.projections)
        rolled = roll_out_all(policy, seen, np.minimum(lams, policy.lam_grid[-1]).tolist())
        found.quality[rows], found.cost[rows] = rolled.quality, rolled.cost
        found.escalated[rows] = rolled.num_run > 1
    others = np.array([prompt.form not in covered for prompt in prompt_views(table)])
    found.quality[others], found.escalated[others] = table.quality[others, top, None], 0.0
    found.cost[others] = table.cost[others, top, None]
    return found


def with_alone(
    outcome: Unseen, policy: GuardedPolicy, lams: Sequence[float], table: OutcomeTable
) -> Unseen:
    """What one stage alone brings about, where the policy has it answer, is in the table.

    The outcome is that of `lams`.
    """
    found = Unseen(*(side.copy() for side in outcome))
    for place, lam in enumerate(lams):
        stage = policy.alone_at(lam)
        if stage is not None:
            found.quality[:, place] = table.quality[:, stage]
            found.cost[:, place] = table.cost[:, stage]
            found.escalated[:, place] = 0.0
    return found


def expect(outcome: Unseen, prompts: Prompts, lams: Sequence[float]) -> list[Expected]:
    """At each lambda; `prompts` are those of the outcome, resampled."""
    quality, cost, escalated = (all_means(side.T, prompts) for side in outcome)
    share = cost / all_means([prompts.cost[:, -1]], prompts)
    return [
        Expected(lam, *(interval(side[:, place]) for side in (share, quality, escalated)))
        for place, lam in enumerate(lams)
    ]
