"""The dials that promises are made of, and what they bring about on prompts that chose nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.claims import Trial
from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.guarded import GuardedPolicy
from adaptive_sd.decision.policy_fit import PolicyFit
from adaptive_sd.decision.rollout import roll_out_all
from adaptive_sd.errors import DataError
from adaptive_sd.offline.prompts import draw_prompts, one_of_each
from adaptive_sd.offline.replay.adaptive import cost_on
from adaptive_sd.offline.replay.dials import MAX_POINTS
from adaptive_sd.offline.replay.front import front
from adaptive_sd.offline.replay.over_lams import spread

SET_ASIDE = 0.3
"""Of the texts to fit on: they only test."""


def set_aside(table: OutcomeTable, *, seed: int) -> tuple[OutcomeTable, OutcomeTable]:
    """The prompts to fit on, and one of each of the SET_ASIDE other texts, to test on."""
    rng = np.random.default_rng([seed, 8])  # apart from the fit's draws
    is_aside = draw_prompts(table, SET_ASIDE, rng=rng)
    aside = table.take(np.flatnonzero(is_aside))
    return table.take(np.flatnonzero(~is_aside)), one_of_each(aside, rng=rng)


def choose_dials(fitted: PolicyFit, fit: FitTable) -> list[float]:
    """Lambdas by ascending cost, as seen out of fold on `fit`; the last is that of `with_safest`.

    Left out are those that a cheaper one equals in quality, and those dearer than the last or the
    same as it.
    """
    policy = fitted.policy
    low, high = policy.lam_grid[[1, -1]].tolist()
    lams = spread(cost_on(policy, fit), low, high, MAX_POINTS)
    lams = [lam for lam in lams if policy.chain_at(lam) != policy.chain_at(high)]
    seen = [fitted.seen_at(lam) for lam in [*lams, high]]
    cost, quality = np.array([(at.cost, at.quality) for at in seen]).T
    kept = front(cost[:-1], quality[:-1], MAX_POINTS)
    return [*(lams[place] for place in kept if cost[place] < cost[-1]), high]


def try_dials(
    policy: GuardedPolicy,
    table: FitTable,
    lams: Sequence[float],
    *,
    max_cost: float,
    timed: FitTable | None = None,
) -> Trial:
    """Each lambda on each prompt; `timed` is the table with seconds for costs, where it has any."""
    rolled = roll_out_all(policy, table, lams)
    chains = [policy.chain_at(lam) for lam in lams]
    return Trial(
        quality=rolled.quality,
        cost=rolled.cost,
        latency_s=np.full_like(rolled.cost, np.nan)
        if timed is None
        else roll_out_all(policy, timed, lams).cost,  # what stages cost changes no decision
        single=table.quality,
        alone=tuple(c.stages[0] if c and len(c.stages) == 1 else None for c in chains),
        max_cost=max_cost,
    )


def in_seconds(table: OutcomeTable, seen: FitTable) -> FitTable | None:
    """`seen` with latencies for costs: a prompt's is the sum over the stages that it runs.

    They are the column `latency_s` where that is whole, else costs where stages have rates: these
    are seconds. None where the table has neither.
    """
    recorded = table.columns.get("latency_s", np.full(table.cost.shape, np.nan))
    latency_s = recorded.astype(np.float64)
    if not np.isnan(latency_s).any():
        return seen.costing(latency_s)
    return seen if all(stage.rates for stage in table.stages) else None


def most_cost(table: OutcomeTable, given: float | None) -> float:
    """`given`, else what the dearest prompt of the table costs if every stage runs on it.

    Raises DataError where that is more than what is given.
    """
    cost = table.cost
    for name, after in table.columns.items():
        if name.startswith("cost_after_"):  # also an abandoned draft
            cost = np.fmax(cost, after.astype(np.float64))
    dearest = float(cost.sum(axis=1).max())
    if given is not None and given < dearest:
        raise DataError(
            f"the most that a prompt can cost is given as {given:g}, but if every stage runs the "
            f"dearest prompt of the table costs {dearest:.4g}; give at least that, or leave it out."
        )
    return dearest if given is None else given
