"""What few graded prompts tell of a new stage: shrunk, and risk-averse until there are more."""

from __future__ import annotations

import numpy as np
import pytest

from adaptive_sd.decision.calibration import sigmoid
from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.joining import CAUTION, join, learn, make_room
from adaptive_sd.decision.newcomer import before_features, known_of
from adaptive_sd.decision.policies import ThresholdPolicy
from adaptive_sd.decision.rollout import roll_out
from adaptive_sd.decision.shrinkage import Labelled, mean_quality, shrunk_logistic
from tests.decision.tables import (
    fit_induction,
    old_policy,
    table_of,
    unguarded,
    without_stage,
)

NEW = 1


def ladder(num_prompts: int, *, seed: int, skill: float = 0.5, cost: float = 2.0) -> FitTable:
    """Three stages that tell a little of themselves and agree when right; NEW has this skill."""
    rng = np.random.default_rng(seed)
    ease = rng.normal(size=(num_prompts, 1))
    chance = sigmoid(ease + np.array([-0.5, skill, 2.0]))
    quality = (rng.random(chance.shape) < chance).astype(float)
    wrong = rng.integers(1, 6, size=quality.shape)
    return table_of(
        quality,
        np.array([1.0, cost, 8.0]),
        sigmoid(np.array([-0.5, skill, 2.0]) + 2 * (quality - 0.5)),
        prompt=(ease + rng.normal(size=ease.shape)).astype(np.float32),
        answers=np.where(quality > 0, "right", wrong.astype(str)),
    )


OLD = old_policy(ladder(800, seed=0), NEW)


def expected_quality(num_prompts: int, seed: int) -> float:
    """Of the newcomer on the prompts of a large table, before it drafts and without caution."""
    table = ladder(3000, seed=99, skill=-1.0)
    newcomer = learn(OLD.induced, ladder(num_prompts, seed=seed, skill=-1.0), NEW, caution=CAUTION)
    known = known_of(OLD.induced, (), lambda held: table.state(held), OLD.induced.stages)
    return float(sigmoid(before_features(known) @ newcomer.before).mean())


def test_more_and_more_prompts_lead_to_the_truth_from_the_side_of_the_others() -> None:
    truth = ladder(3000, seed=99, skill=-1.0).quality[:, NEW].mean()
    others = np.delete(ladder(3000, seed=99).quality, NEW, axis=1).mean()
    few, more, many = (
        np.mean([expected_quality(n, seed) for seed in range(8)]) for n in (20, 100, 2000)
    )
    assert truth < more < few < others
    assert many == pytest.approx(truth, abs=0.02)


def test_caution_falls_with_evidence_and_none_is_left_at_the_median() -> None:
    cautions = [
        learn(OLD.induced, ladder(n, seed=1), NEW, caution=CAUTION).caution for n in (20, 80, 320)
    ]
    assert cautions[0] > 1.5 * cautions[1] > 0 and cautions[1] > 1.5 * cautions[2] > 0
    assert abs(learn(OLD.induced, ladder(320, seed=1), NEW, caution=0.5).caution) < 0.01


@pytest.mark.parametrize("cost", [0.5, 2.0, 7.0, 30.0])
def test_a_useless_stage_is_hardly_ever_run(cost: float) -> None:
    unseen = ladder(800, seed=50, skill=-6.0, cost=cost)
    priced = unseen.costing(np.tile(np.eye(3)[NEW], (800, 1)))
    shares = []
    for seed in range(6):
        policy = join(OLD, ladder(40, seed=seed, skill=-6.0, cost=cost), NEW)
        # below, no answer is worth what the cheapest of the old stages costs
        lams = [lam for lam in policy.lam_grid.tolist() if lam > 4]
        shares += [roll_out(policy, priced, lam).cost.mean() for lam in lams]
    assert np.mean(shares) < 0.02


def test_a_stage_that_is_better_and_cheaper_is_used_and_saves_loss() -> None:
    unseen = ladder(800, seed=50, skill=2.5, cost=0.8)
    policy = join(OLD, ladder(40, seed=3, skill=2.5, cost=0.8), NEW)
    lam = 20.0
    before, after = (roll_out(p, unseen, lam) for p in (OLD, policy))
    losses = [(r.cost + lam * (1 - r.quality)).mean() for r in (before, after)]
    assert losses[1] < 0.8 * losses[0]
    assert (after.stage == NEW).mean() > 0.5


def test_it_is_never_much_worse_than_without_the_stage() -> None:
    ratios = []
    for seed in range(12):
        skill, cost = [(-1.0, 2.0), (0.5, 2.0), (1.5, 6.0)][seed % 3]
        unseen = ladder(800, seed=50, skill=skill, cost=cost)
        policy = join(OLD, ladder(30, seed=seed, skill=skill, cost=cost), NEW)
        for lam in policy.lam_grid[1::3].tolist():
            before, after = (roll_out(p, unseen, lam) for p in (OLD, policy))
            losses = [(r.cost + lam * (1 - r.quality)).mean() for r in (before, after)]
            ratios.append(losses[1] / losses[0])
    assert np.mean(ratios) < 1.0 and np.quantile(ratios, 0.9) < 1.03


def test_a_chain_gives_way_only_to_a_stage_that_is_shown_to_lose_less() -> None:
    chain = ThresholdPolicy((0,), ())
    guarded = make_room(
        unguarded(
            fit_induction(
                without_stage(ladder(300, seed=0), NEW), rng=np.random.default_rng(0)
            ).policy
        ),
        NEW,
    )
    always = type(guarded)(guarded.induced, (chain,) * len(guarded.chains))
    cheap = join(always, ladder(40, seed=1, cost=0.1), NEW)
    lam = float(cheap.lam_grid[1])  # next to nothing buys an answer
    assert (roll_out(cheap, ladder(50, seed=2, cost=0.1), lam).stage == NEW).all()
    useless = join(always, ladder(40, seed=1, skill=-6.0, cost=2.0), NEW)
    assert set(useless.chains[:10]) == {chain}


def test_make_room_moves_the_stages_that_come_after() -> None:
    table = without_stage(ladder(200, seed=0), NEW)
    policy = unguarded(fit_induction(table, rng=np.random.default_rng(0)).policy)
    chained = type(policy)(policy.induced, (ThresholdPolicy((0, 1), (0.5,)), *policy.chains[1:]))
    for stage, moved in ((0, (1, 2)), (1, (0, 2)), (2, (0, 1))):
        found = make_room(chained, stage)
        assert found.stages == moved and found.chains[0] == ThresholdPolicy(moved, (0.5,))


def test_the_mean_quality_is_that_of_the_others_until_graded_prompts_say_more() -> None:
    quality = np.zeros((400, 3))
    quality[:, [0, 2]] = [0.4, 0.8]
    quality[:, 1] = 1.0
    means = [mean_quality(quality[:n], 1) for n in (1, 40, 400)]
    assert means[0].mean == pytest.approx((0.6 * 10 + 1) / 11)
    assert means[0].mean < means[1].mean < means[2].mean
    widths = [m.quantile(0.95) - m.quantile(0.05) for m in means]
    assert widths[0] > widths[1] > widths[2]
    assert all(m.quantile(CAUTION) < m.mean for m in means)


def test_few_rows_have_the_others_slope_and_many_their_own() -> None:
    rng = np.random.default_rng(0)

    def rows(count: int, slope: float) -> Labelled:
        x = rng.normal(size=count)
        right = (rng.random(count) < sigmoid(slope * x)).astype(float)
        return Labelled(np.stack([np.ones(count), x], axis=1), right, np.ones(count))

    others = [rows(3000, 2.0), rows(3000, 2.0)]
    few, many = (
        shrunk_logistic(others, rows(count, -1.0), np.array([0.0, 1.0]))[1] for count in (5, 6000)
    )
    assert few > 1 and many == pytest.approx(-1.0, abs=0.15)
    alone = shrunk_logistic([], rows(3, 1.0), np.array([0.0, 0.7]))
    assert alone == pytest.approx([0.0, 0.7], abs=0.5)
