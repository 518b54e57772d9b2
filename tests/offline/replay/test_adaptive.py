"""What replay says of the fitted policy is what the live cascade does; and its control."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from adaptive_sd.artifact import Artifact
from adaptive_sd.cascade import Cascade, Request
from adaptive_sd.decision.partial import WHOLE, Drafted
from adaptive_sd.decision.paths import follow
from adaptive_sd.decision.rollout import roll_out
from adaptive_sd.judge import FittedJudge
from adaptive_sd.offline.fit import fit_artifact
from adaptive_sd.offline.replay.adaptive import (
    adaptive_of,
    run_random,
    shares,
)
from adaptive_sd.offline.replay.contest import Contest
from adaptive_sd.offline.replay.halves import Halves, Split, fit_halves
from adaptive_sd.offline.replay.over_lams import lams_of
from adaptive_sd.offline.replay.seen import seen_by
from adaptive_sd.types import Action
from tests.decision.tables import (
    fit_induction,
    paid,
    unguarded,
    wild_table,
    with_parts,
    with_savings,
)
from tests.ladder import SKILL, make_stages, make_table, make_tasks
from tests.offline.replay.halves import contest_of, wild_halves

NAMES = list(SKILL)


def test_every_setting_is_what_the_live_cascade_does(
    artifact: Artifact, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    tasks = make_tasks(40, seed=8)
    table = make_table(tmp_path_factory.mktemp("unseen"), tasks)
    rows = {prompt_id: n for n, prompt_id in enumerate(table.prompt_ids)}
    seen = seen_by(artifact, table)
    dials = adaptive_of(artifact.policy, Halves(tuple(NAMES), seen, seen, (), table, table, ()))
    cascade = Cascade(make_stages(tmp_path), FittedJudge(artifact))
    places = range(3, len(dials.labels), 7)
    ran_more, recalled = 0, 0
    for place in places:
        lam = dials.labels[place]
        paths = follow(artifact.policy, seen, lam)
        longer = 0
        for task in tasks:
            trace = cascade.answer(task.prompt, Request(lam=lam)).trace
            n = rows[task.id]
            ran = tuple(NAMES.index(s.stage) for s in trace if s.tokens_in)
            last = next(s for s in reversed(trace) if s.action is not Action.SKIP)
            assert (ran, NAMES.index(last.stage)) == (paths[n].stages, paths[n].returned)
            assert dials.quality[n, place] == table.quality[n, NAMES.index(last.stage)]
            longer += len(ran) > 1
            recalled += trace[-1].action is Action.RECALL
        assert dials.escalation_rate[place] == pytest.approx(longer / len(tasks))
        ran_more += longer
    assert ran_more > 20  # the settings tried reach past the first draft


@given(st.integers(0, 10_000))
@settings(max_examples=8, deadline=None)
def test_paths_come_to_what_the_rollout_says(seed: int) -> None:
    contest = contest_of(wild_halves(30, 3, seed=seed))
    table, policy = contest.halves.test, contest.fitted.policy
    dials = contest.dials("adaptive")
    for place in range(3, len(dials.labels), 9):
        rolled = roll_out(policy, table, dials.labels[place])
        for n, path in enumerate(follow(policy, table, dials.labels[place])):
            stages = path.stages
            cost = sum(table.cost_of(s, stages[:i])[n] for i, s in enumerate(stages))
            assert dials.cost[n, place] == pytest.approx(cost)
            assert dials.quality[n, place] == table.quality[n, path.returned]
            assert rolled.num_run[n] == len(stages)


@given(st.integers(0, 10_000))
@settings(max_examples=8, deadline=None)
def test_paths_tell_where_drafts_were_abandoned(seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = with_parts(wild_table(40, 3, seed=seed).table, seed=seed)
    policy = unguarded(with_savings(fit_induction(table, rng=rng).policy, rng=rng))
    lam = float(policy.lam_grid[12])
    rolled, paths = roll_out(policy, table, lam), follow(policy, table, lam)
    for n, path in enumerate(paths):
        costs = [
            paid(table, n, draft, offered)
            for draft, offered in zip(path.drafts, (None, *path.drafts), strict=False)
        ]
        assert rolled.cost[n] == pytest.approx(sum(costs))
        assert (rolled.stage[n], rolled.num_run[n]) == (path.returned, len(path.drafts))
        assert Drafted(path.returned) in path.drafts
    assume(any(draft.place < WHOLE for path in paths for draft in path.drafts))
    control = run_random(table, shares(paths))
    assert np.isfinite(control.cost).all()
    always = {paths[0]: 1.0}
    assert run_random(table, always).cost[0] == pytest.approx(rolled.cost[0])


@given(st.integers(0, 10_000))
@settings(max_examples=8, deadline=None)
def test_the_control_runs_as_often_and_lies_between_the_stages(seed: int) -> None:
    contest = contest_of(wild_halves(30, 3, seed=seed))
    ours, control = contest.dials("adaptive"), contest.dials("random")
    np.testing.assert_allclose(ours.escalation_rate, control.escalation_rate)
    single = contest.halves.test.quality.mean(axis=0)
    quality = control.quality.mean(axis=0)
    assert (quality >= single.min() - 1e-9).all() and (quality <= single.max() + 1e-9).all()


def test_the_control_is_the_mean_of_many_draws() -> None:
    contest = contest_of(wild_halves(30, 3, seed=5))
    table = contest.halves.test
    lam = lams_of(contest.dials("adaptive"))[20]
    share_of = shares(follow(contest.fitted.policy, table, lam))
    run = run_random(table, share_of)
    rng = np.random.default_rng(0)
    drawn = rng.choice(len(share_of), p=list(share_of.values()), size=(4000, 30))
    paths = list(share_of)
    cost_of = np.array(
        [
            sum(table.cost_of(s, path.stages[:i]) for i, s in enumerate(path.stages))
            for path in paths
        ]
    )
    quality_of = np.array([table.quality[:, path.returned] for path in paths])
    each = np.arange(30)
    assert run.cost.mean() == pytest.approx(cost_of[drawn, each].mean(), rel=0.02)
    assert run.quality.mean() == pytest.approx(quality_of[drawn, each].mean(), abs=0.01)


def test_the_policy_is_the_one_that_fit_makes_of_the_fit_half(tmp_path: Path) -> None:
    table = make_table(tmp_path, make_tasks(60))
    whole = np.arange(60)
    rng = np.random.default_rng(4)
    halves = fit_halves(table, Split(whole, whole[:5], own=True), rng=rng)
    artifact, report = fit_artifact(table, seed=4)
    contest = Contest(halves, fit_rng=rng, seed=4)
    ours, theirs = (policy.to_arrays() for policy in (contest.fitted.policy, artifact.policy))
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        np.testing.assert_array_equal(values, theirs[name])
    assert [f.report.auc for f in halves.predictors] == [s.predictor.auc for s in report.stages]
