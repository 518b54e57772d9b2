"""A policy that a stage has joined is the old one where that stage has no part."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.guarded import GuardedPolicy
from adaptive_sd.decision.joined import JoinedPolicy
from adaptive_sd.decision.joining import CAUTION, learn
from adaptive_sd.decision.partial import WHOLE, Drafted
from adaptive_sd.decision.policies import ThresholdPolicy
from adaptive_sd.decision.rollout import roll_out
from adaptive_sd.errors import ArtifactError
from tests.decision.tables import (
    drive,
    evidence_of,
    old_policy,
    unguarded,
    wild_table,
    with_parts,
)


def joined_on(table: FitTable, stage: int, *, may_abandon: bool = False) -> JoinedPolicy:
    """It runs at all lambdas, shown to pay or not."""
    old = old_policy(table, stage, may_abandon=may_abandon).induced
    return JoinedPolicy(old, learn(old, table, stage, caution=CAUTION))


def silent(policy: JoinedPolicy) -> JoinedPolicy:
    runs = np.zeros_like(policy.newcomer.runs)
    return replace(policy, newcomer=replace(policy.newcomer, runs=runs))


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_a_newcomer_that_never_runs_is_not_the_last_stage(stage: int) -> None:
    policy = joined_on(wild_table(60, 3, seed=0).table, stage)
    assert unguarded(policy).top == 2
    quiet = unguarded(silent(policy))
    assert quiet.top == (1 if stage == 2 else 2) and stage not in quiet.running
    alone = ThresholdPolicy((stage,), ())
    chained = replace(quiet, chains=(*quiet.chains[:-1], alone))
    assert chained.top == 2 and chained.running == (0, 1, 2)


@pytest.mark.parametrize(("num_stages", "stage"), [(2, 0), (2, 1), (3, 1), (4, 2), (4, 3)])
def test_followed_on_a_table_it_decides_as_live(num_stages: int, stage: int) -> None:
    policy = joined_on(wild_table(120, num_stages, seed=0).table, stage)
    runs = np.arange(len(policy.lam_grid)) % 5 > 0
    policy = replace(policy, newcomer=replace(policy.newcomer, runs=runs))
    unseen = wild_table(30, num_stages, seed=1)
    ran = set()
    for lam in policy.lam_grid[::2].tolist():
        found = roll_out(unguarded(policy), unseen.table, lam)
        for row in range(30):
            plain = drive(policy, unseen.table, row, lam, unseen.answers)
            assert found.stage[row] == plain.returned, (row, lam)
            assert found.num_run[row] == len(plain.stages), (row, lam)
            assert found.cost[row] == pytest.approx(plain.cost, rel=1e-12), (row, lam)
            ran.add(plain.stages)
    assert any(stage in path for path in ran) and len(ran) > num_stages


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_where_the_newcomer_does_not_run_every_decision_is_the_old_one(stage: int) -> None:
    wild = wild_table(120, 3, seed=0)
    policy = silent(joined_on(wild.table, stage))
    for lam in policy.lam_grid[::3].tolist():
        for held in ((), *((s,) for s in policy.old.stages), policy.old.stages):
            evidence = evidence_of(wild.table, 7, held, wild.answers)
            assert policy.decide(evidence, lam) == policy.old.decide(evidence, lam)


def test_drafts_are_abandoned_as_before_until_the_newcomer_has_run() -> None:
    table = with_parts(wild_table(400, 3, seed=0).table, seed=0)
    policy = joined_on(table, 1, may_abandon=True)
    num_saved = 0
    for (index, stage, place), _ in policy.savings.items():
        held, drafted = policy.old.stages[:index], Drafted(stage, place)
        statistics = table.part_statistics[3, stage, place][None]
        for lam in policy.lam_grid[::4].tolist():
            ours, theirs = (
                p.saved(evidence_of(table, 3, held), drafted, statistics, lam)
                for p in (policy, policy.old)
            )
            assert ours == theirs
            num_saved += theirs != 0
            after = evidence_of(table, 3, tuple(sorted({*held, 1})))
            assert policy.saved(after, drafted, statistics, lam) == 0
            assert policy.saving_weights((1,), drafted, lam) is None
    assert num_saved
    assert policy.saving_weights((), Drafted(1, WHOLE - 1), float(policy.lam_grid[5])) is None


def test_it_comes_back_as_it_was_saved() -> None:
    wild = wild_table(100, 3, seed=0)
    policy = unguarded(joined_on(wild.table, 1))
    again = GuardedPolicy.from_arrays(policy.to_arrays())
    assert isinstance(again.induced, JoinedPolicy)
    for lam in policy.lam_grid[::5].tolist():
        for ours, theirs in zip(
            *(roll_out(p, wild.table, lam) for p in (policy, again)), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("joined_before", np.zeros(2)),
        ("joined_reveals", np.zeros((2, 9, 2))),
        ("joined_runs", np.zeros(3)),
        ("joined_stage", np.array(0)),
        ("joined_stage", np.array(-1)),
    ],
)
def test_arrays_that_do_not_fit_are_refused(name: str, value: np.ndarray) -> None:
    policy = unguarded(joined_on(wild_table(60, 3, seed=0).table, 1))
    with pytest.raises(ArtifactError, match=r"shape|cannot join"):
        GuardedPolicy.from_arrays(policy.to_arrays() | {name: value})
