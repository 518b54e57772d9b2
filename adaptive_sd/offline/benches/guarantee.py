"""How often promises are broken: fits with a promise, again and again, where the truth is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy.stats import binom
from threadpoolctl import threadpool_limits

from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.claims import Claim, KeptQuality, MeanCost, Trial, certify, is_kept
from adaptive_sd.decision.policy_fit import with_safest
from adaptive_sd.offline.fit import fit_ladder
from adaptive_sd.offline.replay.halves import see, split
from adaptive_sd.offline.trials import choose_dials, most_cost, try_dials

BUDGET_SHARES = (0.4, 0.6, 0.8)
"""Of the population's mean cost of the best single stage."""


@dataclass(frozen=True, slots=True)
class GuaranteeRow:
    """One promise in `num_draws` samples of `num_prompts`.

    A certified dial is cheaper where it costs less than always the best single stage;
    `cost_share` is the mean of what certified dials cost, as a share of that. Broken are those
    that do not keep the promise on the population, at most `num_allowed` of the draws by chance.
    """

    claim: str
    num_prompts: int
    num_draws: int
    num_certified: int
    num_cheaper: int
    cost_share: float | None
    num_broken: int
    num_allowed: int

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def population_of(table: OutcomeTable, *, seed: int) -> Trial:
    """All dials of a policy fitted on one half of the table, on the prompts of the other."""
    parts = split(table, seed=seed)
    with threadpool_limits(limits=1):
        ladder = fit_ladder(table.take(parts.fit), seed=seed)
        fitted = with_safest(ladder.policy, ladder.seen)
        predictors = [fit.predictor for fit in ladder.predictors]
        seen = see(table.take(parts.test), predictors, ladder.projections)
        lams = choose_dials(fitted, ladder.seen)
        return try_dials(fitted.policy, seen, lams, max_cost=most_cost(table, None))


def claims_of(population: Trial, targets: Sequence[float]) -> list[Claim]:
    """The targets, and budgets that a promise of quality does not know."""
    best = float(population.cost[:, -1].mean())
    return [*map(KeptQuality, targets), *(MeanCost(share * best) for share in BUDGET_SHARES)]


def bench_guarantee(
    population: Trial,
    claims: Sequence[Claim],
    sizes: Sequence[int],
    *,
    num_draws: int,
    level: float,
    seed: int,
) -> Iterator[GuaranteeRow]:
    """Samples are drawn with replacement; those of one size are the same for all claims."""
    for num_prompts in sizes:
        for claim in claims:
            rng = np.random.default_rng([seed, num_prompts])
            yield _simulate(population, claim, num_prompts, num_draws, level, rng)


def _simulate(
    population: Trial,
    claim: Claim,
    num_prompts: int,
    num_draws: int,
    level: float,
    rng: np.random.Generator,
) -> GuaranteeRow:
    shares = population.cost.mean(axis=0) / population.cost[:, -1].mean()
    rows = (rng.integers(population.num_prompts, size=num_prompts) for _ in range(num_draws))
    found = [certify(claim, population.take(drawn), level).last for drawn in rows]
    dials = [dial for dial in found if dial is not None]
    is_broken = {dial: not is_kept(claim, population, dial) for dial in set(dials)}
    return GuaranteeRow(
        claim=str(claim),
        num_prompts=num_prompts,
        num_draws=num_draws,
        num_certified=len(dials),
        num_cheaper=sum(bool(shares[dial] < 1) for dial in dials),
        cost_share=float(shares[dials].mean()) if dials else None,
        num_broken=sum(is_broken[dial] for dial in dials),
        num_allowed=int(binom.ppf(0.95, num_draws, level)),
    )
