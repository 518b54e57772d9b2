"""The guarded policy: followed on a table as it decides live, saved whole, damage refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive_sd.decision.calibration import moved
from adaptive_sd.decision.guarded import GuardedPolicy
from adaptive_sd.decision.induced import InducedPolicy
from adaptive_sd.decision.partial import WHOLE
from adaptive_sd.decision.policies import ThresholdPolicy
from adaptive_sd.decision.rollout import roll_out
from adaptive_sd.errors import AdaptiveSDError, ArtifactError
from adaptive_sd.types import Decision
from tests.decision.tables import (
    drive,
    evidence_of,
    fit_induction,
    wild_table,
    with_parts,
    with_savings,
)

INDUCED = fit_induction(
    wild_table(60, 4, seed=0).table, rng=np.random.default_rng(0), num_folds=2, stages=(0, 1, 3)
).policy
CHAINS = (
    None,
    ThresholdPolicy((1,), ()),
    ThresholdPolicy((0, 3), (0.5,)),
    ThresholdPolicy((1, 3), (0.4,)),
)


def guarded(seed: int, induced: InducedPolicy = INDUCED) -> GuardedPolicy:
    places = np.random.default_rng(seed).integers(0, len(CHAINS), len(induced.lam_grid))
    return GuardedPolicy(induced, tuple(CHAINS[place] for place in places.tolist()))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.floats(0, 1), st.booleans())
def test_the_policy_followed_on_a_table_is_the_live_one(
    seed: int, place: float, has_learned: bool
) -> None:
    policy = guarded(seed, with_savings(INDUCED, rng=np.random.default_rng(seed)))
    wild = wild_table(12, 4, seed=seed)
    shift = np.random.default_rng(seed).normal(size=(12, 4)) if has_learned else None
    wild = wild._replace(table=replace(with_parts(wild.table, seed=seed), shift=shift))
    low, high = np.log(policy.lam_grid[[1, -1]])
    lam = min(float(np.exp(low + place * (high - low))), float(policy.lam_grid[-1]))
    found = roll_out(policy, wild.table, lam)
    for row in range(12):
        plain = drive(policy, wild.table, row, lam, wild.answers)
        assert (found.stage[row], found.num_run[row]) == (plain.returned, len(plain.stages))
        assert found.quality[row] == plain.quality
        assert found.cost[row] == pytest.approx(plain.cost, rel=1e-12)
        assert 2 not in plain.stages  # left out of the policy
        if policy.chain_at(lam) is not None:
            assert set(plain.places) == {WHOLE}  # chains abandon nothing


@given(st.integers(0, 2**31), st.lists(st.floats(-3, 3), min_size=3, max_size=3))
def test_feedback_moves_log_odds_of_all_evidence_by_just_so_much(
    seed: int, added: list[float]
) -> None:
    """Products of a draft's own log odds too: else what was learned could drive itself on."""
    policy, stages = guarded(seed), (0, 1, 3)
    plain = evidence_of(wild_table(3, 4, seed=seed).table, 0, stages)
    held = tuple(replace(h, shift=a) for h, a in zip(plain.held, added, strict=True))
    before, after = (policy.estimates(e) for e in (plain, replace(plain, held=held)))
    np.testing.assert_allclose(after, moved(before, added))
    lam = float(policy.lam_grid[policy.induces][-1]) if policy.induces.any() else None
    if lam is not None:
        assert policy.decide(replace(plain, held=held), lam).qualities == pytest.approx(after)


def test_a_lambda_goes_with_the_nearer_point_of_the_grid() -> None:
    policy = guarded(1)
    grid = policy.lam_grid
    for place in range(1, len(grid) - 1):
        ratio = grid[place + 1] / grid[place]
        assert policy.chain_at(float(grid[place])) is policy.chains[place]
        assert policy.chain_at(float(grid[place] * ratio**0.49)) is policy.chains[place]
        assert policy.chain_at(float(grid[place] * ratio**0.51)) is policy.chains[place + 1]


def test_it_comes_back_as_it_was_saved() -> None:
    policy = guarded(2)
    again = GuardedPolicy.from_arrays(policy.to_arrays())
    assert again.chains == policy.chains and again.stages == (0, 1, 3)
    for ours, theirs in zip(again.induced.weights, INDUCED.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "change",
    [
        {"chain_stages": np.zeros((3, 2), dtype=int)},
        {"chain_thresholds": np.zeros(3)},
        {"chain_stages": np.full((len(INDUCED.lam_grid), 2), 2)},  # a stage that was left out
        {"chain_stages": np.tile([3, 1], (len(INDUCED.lam_grid), 1))},  # not ascending
        {"stages": np.array([0, 3, 1])},
        {"stages": np.array([0, 1])},
        {"stages": np.array([-1, 1, 3])},
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, np.ndarray]) -> None:
    with pytest.raises(ArtifactError):
        GuardedPolicy.from_arrays(guarded(3).to_arrays() | change)


def test_a_lambda_outside_the_grid_is_refused_with_or_without_a_chain() -> None:
    for chain in CHAINS:
        policy = GuardedPolicy(INDUCED, (chain,) * len(INDUCED.lam_grid))
        for lam in (-1.0, 2 * float(INDUCED.lam_grid[-1]), float("nan")):
            with pytest.raises(AdaptiveSDError, match="lambda is"):
                policy.chain_at(lam)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, len(INDUCED.lam_grid) - 1), st.data())
def test_what_is_not_affordable_never_runs_and_a_chain_gives_way_to_the_fit(
    seed: int, place: int, data: st.DataObject
) -> None:
    """Stages are taken away as the drafts go on, as from a cap; the walk always ends."""
    policy, lam = guarded(seed), float(INDUCED.lam_grid[place])
    table = wild_table(3, 4, seed=seed).table
    left = data.draw(st.sets(st.sampled_from(policy.stages), min_size=1))
    stages: tuple[int, ...] = ()
    while True:
        plain = evidence_of(table, 0, stages)
        seen = replace(plain, affordable=frozenset(left))
        choice = policy.decide(seen, lam)
        assert choice.denied not in left
        if choice.denied is None and policy.induced.decide(plain, lam).stage in left:
            assert choice[:2] == policy.decide(plain, lam)[:2]
        if choice.decision is Decision.STOP:
            assert choice.stage in stages
            break
        assert choice.stage in left and choice.stage in policy.draft_costs(seen)
        stages = (*stages, choice.stage)
        left = {s for s in left if s > choice.stage}
        left = data.draw(st.sets(st.sampled_from(sorted(left)))) if left else left


def test_what_a_draft_is_expected_to_cost_is_right_in_the_mean() -> None:
    table = wild_table(400, 3, seed=3, verified=True).table
    policy = fit_induction(table, rng=np.random.default_rng(0)).policy
    for held in ((), (0,), (1,), (0, 1)):
        found = [policy.draft_costs(evidence_of(table, n, held)) for n in range(400)]
        for stage in range(held[-1] + 1 if held else 0, 3):
            mean = np.mean([costs[stage] for costs in found])
            assert mean == pytest.approx(table.cost_of(stage, held).mean(), rel=0.05)
    begun = replace(evidence_of(table, 0, ()), abandoned=1)
    assert list(policy.draft_costs(begun)) == [2]


@pytest.mark.parametrize("affordable", [frozenset({2}), frozenset({3}), frozenset()])
def test_a_chain_whose_next_draft_was_cut_gives_way_and_denies_nothing(
    affordable: frozenset[int],
) -> None:
    """What was cut is no alternative any more, so that nobody asks what it would cost."""
    wild = wild_table(40, 4, seed=3)
    chain = ThresholdPolicy((0, 1), (1.0,))
    policy = GuardedPolicy(INDUCED, (chain,) * len(INDUCED.lam_grid))
    held = evidence_of(wild.table, 7, (0,), wild.answers)
    cut = replace(held, abandoned=1, affordable=affordable)
    for lam in INDUCED.lam_grid[1:].tolist():
        choice = policy.decide(cut, lam)
        assert choice.denied in (None, 3) and choice.stage in (0, 3)
        assert choice.denied is None or choice.denied in policy.draft_costs(cut)
