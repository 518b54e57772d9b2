"""Promises made on samples of a population whose truth is known are rarely broken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from adaptive_sd.decision.claims import (
    Claim,
    FastEnough,
    KeptQuality,
    MeanCost,
    Trial,
    certify,
    is_kept,
)
from adaptive_sd.offline.benches.guarantee import GuaranteeRow, bench_guarantee, promises_of

NUM_DRAWS = 300


def treacherous(losses: Sequence[float] = (0.4, 0.2, 0.06, 0.01, 0.0)) -> Trial:
    """Five dials; each promise below is just broken by the third, which comes after good ones."""
    num_prompts = 4000
    rng = np.random.default_rng(0)
    best = (rng.random(num_prompts) < 0.8).astype(float)
    lost = rng.random(num_prompts)
    quality = np.stack([best * (lost >= loss) for loss in losses], axis=1)
    spread = rng.choice([0.2, 1.8], size=(num_prompts, 1)) * rng.uniform(0.9, 1.1, (num_prompts, 5))
    cost = spread * [1.0, 1.5, 2.1, 2.5, 4.0]
    single = np.stack([best * (rng.random(num_prompts) < 0.5), best], axis=1)
    return Trial(quality, cost, cost, single, (0, None, None, None, 1), max_cost=10.0)


POPULATION = treacherous()
CLAIMS: list[Claim] = [KeptQuality(0.945), MeanCost(2.05), FastEnough(4.073)]


def only_row(claim: Claim, size: int, *, num_draws: int, seed: int = 0) -> GuaranteeRow:
    (row,) = bench_guarantee(
        POPULATION, {str(claim): [claim]}, [size], num_draws=num_draws, level=0.05, seed=seed
    )
    return row


def naive_dial(claim: Claim, trial: Trial) -> int | None:
    """Goes by the sample's own means."""
    last = None
    for dial in claim.order(len(trial.alone)):
        if not is_kept(claim, trial, dial):
            break
        last = dial
    return last


@pytest.mark.parametrize("claim", CLAIMS, ids=str)
def test_few_promises_are_broken_where_going_by_the_mean_breaks_many(claim: Claim) -> None:
    row = only_row(claim, 300, num_draws=NUM_DRAWS, seed=1)
    assert row.num_allowed == 21
    assert row.num_broken <= row.num_allowed < NUM_DRAWS / 4
    assert row.num_certified > 0.9 * NUM_DRAWS
    rng = np.random.default_rng(1)
    drawn = [POPULATION.take(rng.integers(4000, size=300)) for _ in range(NUM_DRAWS)]
    naive = [naive_dial(claim, trial) for trial in drawn]
    assert sum(d is not None and not is_kept(claim, POPULATION, d) for d in naive) > 60


def test_the_highest_share_shown_is_rarely_too_high_where_that_of_the_mean_often_is() -> None:
    safest_share = 0.928
    population = treacherous((0.4, 0.2, 0.12, 0.09, 1 - safest_share))
    population = replace(population, alone=(0, None, None, None, None))
    name, claims = list(promises_of(population, []).items())[-1]
    (row,) = bench_guarantee(
        population, {name: claims}, [300], num_draws=NUM_DRAWS, level=0.05, seed=1
    )
    assert row.num_certified == NUM_DRAWS and row.num_broken <= row.num_allowed
    assert row.bounds is not None and 0.85 < row.bounds[1] < safest_share
    rng = np.random.default_rng(1)
    drawn = [population.take(rng.integers(4000, size=300)) for _ in range(NUM_DRAWS)]
    highest = [max(claim.bound for claim in claims if is_kept(claim, t, 4)) for t in drawn]
    assert sum(not is_kept(KeptQuality(bound), population, 4) for bound in highest) > 60


def test_more_prompts_show_more() -> None:
    few, many = (only_row(KeptQuality(0.9), size, num_draws=50) for size in (50, 1000))
    assert few.num_cheaper <= many.num_cheaper == 50
    assert few.cost_share is not None and many.cost_share is not None
    assert many.cost_share < few.cost_share and many.cost_share < 0.7


def test_the_samples_are_those_of_the_seed() -> None:
    promises = promises_of(POPULATION, [0.9])
    one, same, other = (
        list(bench_guarantee(POPULATION, promises, [40], num_draws=40, level=0.05, seed=seed))
        for seed in (1, 1, 2)
    )
    assert [row.claim for row in one] == list(promises)
    assert one == same != other


def test_nothing_certified_has_no_cost() -> None:
    row = only_row(MeanCost(0.5), 30, num_draws=5)
    assert (row.num_certified, row.cost_share, row.bounds, row.num_broken) == (0, None, None, 0)
    assert certify(MeanCost(0.5), POPULATION, 0.05).ended_at == 0
