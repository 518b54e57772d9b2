"""Rules that are followed many prompts at once equal a plain loop over each prompt."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive_sd.decision.induction import lam_grid
from adaptive_sd.offline.replay.agreement import agreement, run_agreement
from adaptive_sd.offline.replay.cascade_routing import (
    NUM_DRAWS,
    Supersets,
    deviations,
    run_cascade_routing,
)
from adaptive_sd.offline.replay.chances import fit_chances
from adaptive_sd.offline.replay.known import run_known_p
from adaptive_sd.offline.replay.oracle import oracle
from adaptive_sd.offline.replay.router import fit_routed_quality, run_router
from tests.offline.replay.halves import contest_of, wild_halves

seeds = st.integers(0, 10_000)


def cost_of_path(table, row: int, stages: tuple[int, ...]) -> float:  # type: ignore[no-untyped-def]
    return sum(float(table.cost_of(s, stages[:i])[row]) for i, s in enumerate(stages))


@given(seeds)
@settings(max_examples=10, deadline=None)
def test_known_p_goes_where_the_predicted_loss_is_least(seed: int) -> None:
    halves = wild_halves(30, 3, seed=seed)
    chances = fit_chances(halves.fit, halves.test, rng=np.random.default_rng(seed)).test
    lam = float(lam_grid(halves.fit.cost)[12])
    run = run_known_p(halves.test, chances, lam)
    for row in range(30):
        held: tuple[int, ...] = ()
        while True:
            state = chances[held]
            first = held[-1] + 1 if held else 0
            going = {
                stage: state.cost[row, place] + lam * (1 - state.later[row, place])
                for place, stage in enumerate(range(first, 3))
            }
            stopping = lam * (1 - max(state.held[row])) if held else np.inf
            if not going or stopping <= min(going.values()):
                break
            held = (*held, min(going, key=lambda stage: going[stage]))
        returned = held[int(np.argmax(chances[held].held[row]))]
        assert run.quality[row] == halves.test.quality[row, returned]
        assert run.cost[row] == pytest.approx(cost_of_path(halves.test, row, held))
        assert run.escalated[row] == float(len(held) > 1)


@given(seeds)
@settings(max_examples=8, deadline=None)
def test_cascade_routing_begins_the_best_superset_and_ends_at_the_best_set(seed: int) -> None:
    halves = wild_halves(25, 3, seed=seed)
    rng = np.random.default_rng(seed)
    both = fit_chances(halves.fit, halves.test, rng=rng)
    moves = deviations(both.fit, 3)
    draws = rng.normal(size=(NUM_DRAWS, 3))
    made = {h: Supersets(state, h, moves[h], draws) for h, state in both.test.items()}
    lam = float(lam_grid(halves.fit.cost)[13])
    run = run_cascade_routing(halves.test, both.test, made, lam)
    for row in range(25):
        held: tuple[int, ...] = ()
        while True:
            state, first = both.test[held], held[-1] + 1 if held else 0
            later = range(first, 3)
            best, loss = (), lam * (1 - max(state.held[row])) if held else np.inf
            for size in range(1, len(later) + 1):
                for added in itertools.combinations(later, size):
                    outcomes = [
                        np.clip(
                            state.later[row, s - first] + moves[held][s - first] * draws[:, s], 0, 1
                        )
                        for s in added
                    ]
                    sure = max(state.held[row], default=0.0)
                    quality = np.maximum(sure, np.max(outcomes, axis=0)).mean()
                    paid = sum(state.cost[row, s - first] for s in added)
                    if paid + lam * (1 - quality) < loss:
                        best, loss = added, paid + lam * (1 - quality)
            if not best:
                break
            held = (*held, best[0])
        returned = held[int(np.argmax(both.test[held].held[row]))]
        assert run.quality[row] == halves.test.quality[row, returned]
        assert run.cost[row] == pytest.approx(cost_of_path(halves.test, row, held))


@given(seeds, st.sets(st.integers(0, 3), min_size=1))
@settings(max_examples=25, deadline=None)
def test_agreement_ends_at_the_first_answer_given_before(seed: int, chosen: set[int]) -> None:
    table = wild_halves(12, 4, seed=seed).test
    stages = sorted(chosen)
    run = run_agreement(table, stages)
    for row in range(12):
        ran: list[int] = []
        for stage in stages:
            ran.append(stage)
            if any(table.agreement[row, stage, earlier] for earlier in ran[:-1]):
                break
        assert run.quality[row] == table.quality[row, ran[-1]]
        assert run.cost[row] == pytest.approx(cost_of_path(table, row, tuple(ran)))
        assert run.escalated[row] == float(len(ran) > 1)


def test_agreement_may_use_any_stages() -> None:
    assert any(", " in str(label) for label in agreement(wild_halves(200, 4)).labels)


def test_the_router_pays_one_stage_and_learns_from_words() -> None:
    """Whether the small stage is right is written in the prompt."""
    halves = wild_halves(300, 2, seed=3)
    for table, outcomes in ((halves.fit, halves.fit_outcomes), (halves.test, halves.test_outcomes)):
        texts = np.where(table.quality[:, 0] > 0.5, "an easy question", "a hard question")
        outcomes.columns["prompt"][:, 0] = texts  # type: ignore[index]
    routed = fit_routed_quality(halves, rng=np.random.default_rng(0))
    right = halves.test.quality[:, 0] > 0.5
    assert routed.test[right, 0].min() > 0.7 and routed.test[~right, 0].max() < 0.3
    assert routed.fit[halves.fit.quality[:, 0] > 0.5, 0].min() > 0.7  # out of fold
    run = run_router(halves.test, 100 * (1 - routed.test) + [0.0, 1.0])
    assert not run.escalated.any()
    assert (run.cost[right] == halves.test.cost[right, 0]).all()


@given(seeds)
@settings(max_examples=10, deadline=None)
def test_the_oracle_has_the_best_of_every_trade(seed: int) -> None:
    """No choice of one stage a prompt is better at any price at which a point was made."""
    halves = wild_halves(8, 3, seed=seed)
    dials, table = oracle(halves), halves.test
    for place, mu in enumerate(dials.labels):
        best = (table.quality - mu * table.cost).max(axis=1)
        np.testing.assert_allclose(dials.quality[:, place] - mu * dials.cost[:, place], best)
    assert not dials.escalation_rate.any()


def test_chances_out_of_fold_do_not_know_the_outcome() -> None:
    """Noise cannot be told from noise: estimates of unseen prompts stay near the mean."""
    halves = wild_halves(200, 2, seed=9)
    noise = np.random.default_rng(1).random((200, 2)).round()
    halves.fit.quality[:] = noise
    chances = fit_chances(halves.fit, halves.test, rng=np.random.default_rng(0))
    for stage in range(2):
        told = np.corrcoef(chances.fit[()].later[:, stage], noise[:, stage])[0, 1]
        assert not told > 0.25  # nan where they are constant


def test_policies_of_a_name_are_made_once() -> None:
    contest = contest_of(wild_halves(30, 2))
    assert contest.dials("best_pair") is contest.dials("best_pair")
