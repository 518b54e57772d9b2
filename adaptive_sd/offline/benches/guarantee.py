"""How often promises are broken: certified on sample after sample where the truth is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
from scipy.stats import binom
from threadpoolctl import threadpool_limits

from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.alone import with_safest
from adaptive_sd.decision.claims import (
    LATENCY_SHARE,
    Claim,
    FastEnough,
    KeptQuality,
    MeanCost,
    Trial,
    certify,
    is_kept,
    shown_in_turn,
)
from adaptive_sd.offline.certify import TARGETS
from adaptive_sd.offline.fit import fit_ladder
from adaptive_sd.offline.prompts import one_of_each
from adaptive_sd.offline.replay.halves import see, split
from adaptive_sd.offline.trials import choose_dials, in_seconds, most_cost, try_dials

SHARES = (0.4, 0.6, 0.8)
"""Of what always the best single stage takes: budgets and latencies to promise."""


@dataclass(frozen=True, slots=True)
class GuaranteeRow:
    """One promise in `num_draws` samples of `num_prompts`.

    A certified dial is cheaper where it costs less than always the best single stage;
    `cost_share` is the mean of what certified dials cost, as a share of that. `bounds` are the
    least, the median and the largest that were certified. Broken are dials that do not keep the
    promise on the population, at most `num_allowed` of the draws by chance.
    """

    claim: str
    num_prompts: int
    num_draws: int
    num_certified: int
    num_cheaper: int
    cost_share: float | None
    bounds: tuple[float, float, float] | None
    num_broken: int
    num_allowed: int

    def to_json(self) -> dict[str, object]:
        return asdict(self)


class Certified(NamedTuple):
    """What was shown of which dial."""

    claim: Claim
    dial: int


def population_of(table: OutcomeTable, *, seed: int) -> Trial:
    """All dials of a policy fitted on one half of the table, on the other half's texts."""
    parts = split(table, seed=seed)
    with threadpool_limits(limits=1):
        ladder = fit_ladder(table.take(parts.fit), seed=seed)
        fitted = with_safest(ladder.policy, ladder.seen)
        predictors = [fit.predictor for fit in ladder.predictors]
        rest = one_of_each(table.take(parts.test), rng=np.random.default_rng([seed, 9]))
        seen = see(rest, predictors, ladder.projections)
        lams, most = choose_dials(fitted, ladder.seen), most_cost(table, None)
        timed = in_seconds(rest, seen)
        return try_dials(fitted.policy, seen, lams, max_cost=most, timed=timed)


def promises_of(population: Trial, targets: Sequence[float]) -> dict[str, Sequence[Claim]]:
    """The targets, the highest of TARGETS, budgets, and latencies where these are known."""
    cost = float(population.cost[:, -1].mean())
    slow = float(np.quantile(population.latency_s[:, -1], LATENCY_SHARE))
    claims: list[Claim] = [*map(KeptQuality, targets), *(MeanCost(s * cost) for s in SHARES)]
    if not np.isnan(slow):
        claims += [FastEnough(s * slow) for s in SHARES]
    return {str(c): [c] for c in claims} | {"the highest share of quality that is shown": TARGETS}


def bench_guarantee(
    population: Trial,
    promises: Mapping[str, Sequence[Claim]],
    sizes: Sequence[int],
    *,
    num_draws: int,
    level: float,
    seed: int,
) -> Iterator[GuaranteeRow]:
    """Of each promise the strictest claim that a sample shows in turn.

    Samples are drawn with replacement; those of one size are the same for all promises.
    """
    for num_prompts in sizes:
        for name, claims in promises.items():
            rng = np.random.default_rng([seed, num_prompts])
            drawn = (
                population.take(rng.integers(population.num_prompts, size=num_prompts))
                for _ in range(num_draws)
            )
            found = [_strictest(claims, sample, level) for sample in drawn]
            yield _row(name, num_prompts, population, found, level)


def _strictest(claims: Sequence[Claim], sample: Trial, level: float) -> Certified | None:
    in_turn = shown_in_turn(claims, sample, level)
    dial = certify(in_turn[-1], sample, level).last if in_turn else None
    return None if dial is None else Certified(in_turn[-1], dial)


def _row(
    name: str, num_prompts: int, population: Trial, found: Sequence[Certified | None], level: float
) -> GuaranteeRow:
    shares = population.cost.mean(axis=0) / population.cost[:, -1].mean()
    certified = [pair for pair in found if pair is not None]
    paid = shares[[dial for _, dial in certified]] if certified else np.empty(0)
    is_broken = {pair: not is_kept(pair.claim, population, pair.dial) for pair in set(certified)}
    bounds = [claim.bound for claim, _ in certified]
    return GuaranteeRow(
        claim=name,
        num_prompts=num_prompts,
        num_draws=len(found),
        num_certified=len(certified),
        num_cheaper=int((paid < 1).sum()),
        cost_share=float(paid.mean()) if certified else None,
        bounds=(min(bounds), float(np.median(bounds)), max(bounds)) if bounds else None,
        num_broken=sum(is_broken[pair] for pair in certified),
        num_allowed=int(binom.ppf(0.95, len(found), level)),
    )
