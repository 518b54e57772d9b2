"""The fitted policy: estimates between the lambdas of its grid, and its storage."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive_sd.decision.calibration import sigmoid
from adaptive_sd.decision.features import FEATURE_DIM
from adaptive_sd.decision.induced import InducedPolicy, returned_of, state_values
from adaptive_sd.decision.partial import Drafted
from adaptive_sd.decision.policies import Evidence, HeldDraft, Prospect
from adaptive_sd.decision.states import (
    STATE_COLUMNS,
    held_of,
    later_stages,
    state_features,
    state_index,
)
from adaptive_sd.errors import AdaptiveSDError, ArtifactError, ConfigError
from adaptive_sd.types import Decision
from tests.decision.tables import features_of, fit_induction, wild_table, with_parts

TABLE = wild_table(80, 3, seed=0).table
POLICY = fit_induction(TABLE, rng=np.random.default_rng(0)).policy
GRID = POLICY.lam_grid
SUBSETS = [s for n in range(4) for s in itertools.combinations(range(3), n)]


def go_on_at(stages: tuple[int, ...], column: int) -> tuple[np.ndarray, np.ndarray]:
    """Quality and cost of each next stage at one lambda of the grid, read off the weights."""
    weights = POLICY.weights[state_index(stages, range(3))]
    outputs = TABLE.state(stages) @ weights
    best = sigmoid(outputs[:, : len(stages)]).max(axis=1, initial=0)[:, None]
    kinds = outputs[:, len(stages) :].reshape(len(outputs), -1, 2, len(GRID))[..., column]
    return np.clip(best + kinds[:, :, 0], 0, 1), np.maximum(kinds[:, :, 1], 0)


@pytest.mark.parametrize("stages", SUBSETS[:-1])
def test_at_each_lambda_of_the_grid_the_estimates_are_those_fitted(
    stages: tuple[int, ...],
) -> None:
    for column, lam in enumerate(GRID):
        quality, cost = go_on_at(stages, column)
        found = POLICY.values(stages, TABLE.state(stages), float(lam))
        np.testing.assert_allclose(
            found.values_go[:, :, 0], cost + lam * (1 - quality), rtol=1e-9, atol=1e-9
        )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(GRID) - 2), st.floats(0, 1))
def test_between_them_quality_and_cost_are_on_a_line_over_log_lambda(
    column: int, share: float
) -> None:
    """Between 0 and the first positive one, whose logarithms are no line, over lambda."""
    low, high = GRID[column], GRID[column + 1]
    lam = float(share * high if column == 0 else low * (high / low) ** share)
    lam = min(lam, float(high))
    weights = POLICY.weights[0].reshape(-1, 3, 2, len(GRID))
    mixed = (1 - share) * weights[..., column] + share * weights[..., column + 1]
    estimates = np.einsum("nf,fsk->nsk", TABLE.state(()), mixed)
    wanted = np.maximum(estimates[..., 1], 0) + lam * (1 - np.clip(estimates[..., 0], 0, 1))
    found = POLICY.values((), TABLE.state(()), lam).values_go[:, :, 0]
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("lam", [float(GRID[-1]) * 1.001, 1e12, -0.1, np.nan, np.inf])
def test_a_lambda_outside_the_grid_is_refused(lam: float) -> None:
    nothing_held = Evidence(TABLE.prompt_features[0])
    with pytest.raises(ConfigError, match="lambda is"):
        POLICY.decide(nothing_held, lam)
    assert POLICY.decide(nothing_held, float(GRID[-1])).decision is Decision.ESCALATE


@pytest.mark.parametrize("stages", SUBSETS)
def test_decide_reports_the_estimates_that_it_compared(stages: tuple[int, ...]) -> None:
    lam = float(GRID[9])
    held = tuple(
        HeldDraft(s, float(TABLE.estimates[5, s]), features_of(TABLE, 5, s), f"answer {s}")
        for s in stages
    )
    choice = POLICY.decide(Evidence(TABLE.prompt_features[5], held), lam)
    assert len(choice.qualities) == len(stages)
    assert all(0 <= quality <= 1 for quality in choice.qualities)
    going = choice.prospects
    if stages:
        stopping, *going = choice.prospects
        assert stopping == Prospect.of(None, max(choice.qualities), 0.0, lam)
    assert [prospect.stage for prospect in going] == list(later_stages(stages, range(3)))
    if len(stages) < 2:  # the table has agreements that these answers do not
        quality, cost = go_on_at(stages, 9)
        np.testing.assert_allclose([p.quality for p in going], quality[5], atol=1e-9)
        np.testing.assert_allclose([p.cost for p in going], cost[5], atol=1e-9)
    for prospect in choice.prospects:
        assert prospect.loss == prospect.cost + lam * (1 - prospect.quality)
    stops = stages and stopping.loss <= min((p.loss for p in going), default=np.inf)
    assert choice.decision is (Decision.STOP if stops else Decision.ESCALATE)


def test_quality_held_is_judged_by_all_evidence_not_by_its_own_estimate_alone() -> None:
    """Agreement with a later draft raises what an earlier one is worth."""
    features = np.zeros(FEATURE_DIM, np.float32)

    def first_quality(second: str) -> float:
        held = (HeldDraft(0, 0.5, features, "x"), HeldDraft(1, 0.5, features, second))
        return POLICY.decide(Evidence(TABLE.prompt_features[0], held), 1.0).qualities[0]

    assert first_quality("x") != first_quality("y")
    assert first_quality("y") == first_quality("")


def test_each_subset_has_an_index_of_its_own_and_the_later_stages_are_those_above() -> None:
    assert sorted(state_index(held, range(3)) for held in SUBSETS) == list(range(8))
    assert list(later_stages((), range(3))) == [0, 1, 2]
    assert list(later_stages((0,), range(3))) == [1, 2]
    assert list(later_stages((0, 2), range(3))) == []


@given(st.lists(st.integers(0, 3), min_size=1, max_size=5))
def test_the_best_estimate_is_returned_ties_to_the_later(qualities: list[int]) -> None:
    found = int(returned_of(range(len(qualities)), np.array([qualities], dtype=float))[0])
    assert found == max(i for i, q in enumerate(qualities) if q == max(qualities))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.floats(0, 1e6), st.integers(0, 3), st.integers(0, 3))
def test_losses_never_promise_more_than_a_right_answer_for_the_least_cost(
    seed: int, lam: float, num_held: int, num_later: int
) -> None:
    rng = np.random.default_rng(seed)
    stop = rng.random((5, num_held))
    go = rng.normal(scale=2, size=(5, num_later, 2, 1))
    least_costs = rng.random(num_later)
    values = state_values(stop, go, np.array([lam]), least_costs)
    assert (values.values_go >= least_costs[:, None]).all() and (values.value_stop >= 0).all()
    if num_held:
        assert (values.value_stop <= lam).all()
    else:
        assert (values.value_stop == np.inf).all()


def test_agreement_of_the_last_draft_with_any_earlier_one_is_a_feature() -> None:
    agreement = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    state = state_features(
        np.zeros((4, 2)), np.full((4, 3), 0.7), agreement, np.zeros((4, len(STATE_COLUMNS)))
    )
    np.testing.assert_array_equal(state[:, 0], 1)
    # of the pairs (0,1), (0,2), (1,2) the last two are with the last draft
    agrees = 1 + 2 + 2 * 3 + len(STATE_COLUMNS) + 1 + 3
    np.testing.assert_array_equal(state[:, agrees], [0, 0, 1, 1])
    np.testing.assert_allclose(state[:, agrees + 1], state[:, agrees] * np.log(0.7 / 0.3))


def test_no_draft_is_expected_to_cost_less_than_the_least_that_was_recorded() -> None:
    """Of prompts far from those of the fit, too."""
    least = [TABLE.least_cost(stage) for stage in range(3)]
    after = np.where(np.isnan(TABLE.cost_after), np.inf, TABLE.cost_after)
    assert least[2] == min(TABLE.cost[:, 2].min(), after[:, 2, :2].min())
    far = -1e6 * np.sign(POLICY.weights[0][1:, len(GRID)])  # by it the first stage costs nothing
    costs = POLICY.draft_costs(Evidence(far))
    assert costs[0] == least[0] and all(costs[stage] >= least[stage] for stage in costs)


ABANDONING = fit_induction(
    with_parts(wild_table(300, 3, seed=0).table, seed=0),
    rng=np.random.default_rng(0),
    may_abandon=True,
).policy


def test_a_lambda_between_grid_points_abandons_as_the_nearer_one() -> None:
    key, weights = next(iter(ABANDONING.savings.items()))
    index, stage, place = key
    held = held_of(index, (0, 1, 2))
    grid = ABANDONING.lam_grid
    for low, high in itertools.pairwise(range(1, len(grid))):
        for share, wanted in ((0.0, low), (0.4, low), (0.6, high)):
            lam = float(grid[low] * (grid[high] / grid[low]) ** share)
            found = ABANDONING.saving_weights(held, Drafted(stage, place), lam)
            column = weights[:, wanted]
            if column.any():
                np.testing.assert_array_equal(found, column)
            else:
                assert found is None
    assert weights.any(axis=0).sum() not in (0, len(grid))


def test_savings_round_trip() -> None:
    again = InducedPolicy.from_arrays(ABANDONING.to_arrays())
    assert ABANDONING.savings and again.savings.keys() == ABANDONING.savings.keys()
    for key, weights in ABANDONING.savings.items():
        np.testing.assert_array_equal(again.savings[key], weights)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("saving0_0_0", (3, 25), "saving0_0_0 of a policy has shape"),
        ("saving0_2_0", (3, 25), "no choice of"),
        ("saving1_0_0", (3, 25), "no choice of"),
        ("saving9_0_0", (3, 25), "no choice of"),
        ("saving0_0_4", (3, 25), "no choice of"),
        ("saving", (3, 25), "no choice of"),
    ],
)
def test_savings_of_what_is_never_abandoned_are_refused(
    name: str, shape: tuple[int, int], message: str
) -> None:
    with pytest.raises(ArtifactError, match=message):
        InducedPolicy.from_arrays(POLICY.to_arrays() | {name: np.zeros(shape)})


def test_arrays_round_trip() -> None:
    again = InducedPolicy.from_arrays(POLICY.to_arrays())
    assert again.stages == (0, 1, 2)
    np.testing.assert_array_equal(again.lam_grid, GRID)
    for one, other in zip(again.weights, POLICY.weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lam_grid": GRID[:-1]}, "state 0 of a policy has shape"),
        ({"lam_grid": GRID[::-1]}, "does not ascend from 0"),
        ({"lam_grid": GRID + 1}, "does not ascend from 0"),
        ({"lam_grid": np.concatenate([GRID[:-1], [np.nan]])}, "does not ascend from 0"),
        ({"lam_grid": GRID[:0]}, "does not ascend from 0"),
        ({"lam_grid": GRID[None]}, "does not ascend from 0"),
        ({"state2": POLICY.weights[2][:, :-1]}, "state 2 of a policy has shape"),
        ({"state5": POLICY.weights[5][:-1]}, "state 5 of a policy has shape"),
        ({"state7": POLICY.weights[7][0]}, "state 7 of a policy has shape"),
        ({"state0": POLICY.weights[0][:-1]}, "of a policy has shape"),
        ({"state8": POLICY.weights[7]}, "a policy of 3 stages has 9 states"),
    ],
)
def test_damaged_arrays_are_refused(change: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        InducedPolicy.from_arrays(POLICY.to_arrays() | change)


@pytest.mark.parametrize("name", POLICY.to_arrays())
def test_missing_arrays_are_missed(name: str) -> None:
    arrays = POLICY.to_arrays()
    del arrays[name]
    with pytest.raises((KeyError, AdaptiveSDError)):
        InducedPolicy.from_arrays(arrays)
