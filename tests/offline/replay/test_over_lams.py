"""Policies whose dial is lambda get the same settings: single stages, and lambdas spread out."""

from __future__ import annotations

import numpy as np
import pytest

from adaptive_sd.offline.replay.contest import Contest
from adaptive_sd.offline.replay.dials import MAX_POINTS
from adaptive_sd.offline.replay.over_lams import lams_of, spread
from tests.offline.replay.halves import contest_of, wild_halves

BY_LAMBDA = ("router", "cascade_routing", "known_p", "adaptive", "random")


@pytest.fixture(scope="module")
def contest() -> Contest:
    return contest_of(wild_halves(200, 3, seed=2))


@pytest.mark.parametrize("name", BY_LAMBDA)
def test_settings_are_the_single_stages_and_many_lambdas_and_no_more_than_forty(
    contest: Contest, name: str
) -> None:
    dials, halves = contest.dials(name), contest.halves
    assert dials.labels[:3] == halves.names and len(dials.labels) <= MAX_POINTS
    np.testing.assert_array_equal(dials.quality[:, :3], halves.test.quality)
    np.testing.assert_array_equal(dials.cost[:, :3], halves.test.cost)
    lams = lams_of(dials)
    assert len(lams) > 20 and lams == sorted(set(lams))
    assert lams[0] > 0 and lams[-1] <= contest.fitted.policy.lam_grid[-1]


@pytest.mark.parametrize("name", ["router", "cascade_routing", "known_p"])
def test_the_cost_on_the_fit_half_changes_by_small_steps_or_jumps(
    contest: Contest, name: str
) -> None:
    dials = contest.dials(name)
    lams, costs = lams_of(dials), dials.fit_cost[3:]
    steps = np.abs(np.diff(costs))[np.diff(np.log(lams)) > 1e-3]
    assert steps.max() <= 0.2 * (costs.max() - costs.min())


def test_lambdas_gather_where_the_cost_moves() -> None:
    """Here between 90 and 110, a 25th of the range in log lambda."""
    lams = spread(lambda lam: float(np.clip((lam - 90) / 20, 0, 1)), 1.0, 1000.0, 30)
    assert len(lams) == 30 and lams == sorted(set(lams))
    assert (lams[0], lams[-1]) == (1.0, 1000.0)
    assert sum(90 <= lam <= 110 for lam in lams) >= 15


def test_a_cost_that_does_not_move_needs_few_lambdas_and_a_jump_ends() -> None:
    assert len(spread(lambda lam: 1.0, 1.0, 1000.0, 30)) == 12
    assert len(spread(lambda lam: float(lam > 50), 1.0, 1000.0, 40)) < 30
    assert spread(lambda lam: 1.0, 2.0, 3.0, 2) == [2.0, 3.0]
