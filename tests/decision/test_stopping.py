"""The textbook rule: brute force, the recursion written out, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive_sd.decision.stopping import InvalidProblemError, optimal_stopping_rule
from adaptive_sd.errors import AdaptiveSDError

GUIDE_P = [0.3, 0.5, 0.7, 0.9]
GUIDE_C = [1.0, 1.6, 4.2, 8.8]

problems = st.integers(1, 12).flatmap(
    lambda n: st.tuples(
        st.lists(st.floats(0, 1), min_size=n, max_size=n),
        st.lists(st.floats(0, 1e6), min_size=n, max_size=n),
        st.floats(0, 1e6),
    )
)
# Eighths, sixteenths and small integers: every sum below is exact, so ties are ties.
exact_problems = st.integers(1, 8).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 8).map(lambda i: i / 8), min_size=n, max_size=n),
        st.lists(st.integers(0, 16).map(lambda i: i / 16), min_size=n, max_size=n),
        st.integers(0, 8).map(float),
    )
)


def loss_of(k: int, p: list[float], cost: list[float], lam: float) -> float:
    return sum(cost[: k + 1]) + lam * (1 - p[k])


@settings(max_examples=100, deadline=None)
@given(exact_problems, st.booleans())
def test_equals_brute_force_with_the_first_of_ties(
    problem: tuple[list[float], list[float], float], as_arrays: bool
) -> None:
    p, cost, lam = problem
    losses = [loss_of(k, p, cost, lam) for k in range(len(p))]
    given_p, given_c = (np.array(p), np.array(cost)) if as_arrays else (p, cost)
    rule = optimal_stopping_rule(given_p, given_c, lam)
    assert rule.k_star == losses.index(min(losses))
    assert rule.J.tolist() == losses


@settings(max_examples=100, deadline=None)
@given(problems)
def test_no_stage_loses_less(problem: tuple[list[float], list[float], float]) -> None:
    p, cost, lam = problem
    rule = optimal_stopping_rule(p, cost, lam)
    losses = [loss_of(k, p, cost, lam) for k in range(len(p))]
    np.testing.assert_allclose(rule.J, losses, rtol=1e-12, atol=1e-12)
    assert rule.J[rule.k_star] == rule.J.min()


@settings(max_examples=100, deadline=None)
@given(exact_problems)
def test_equals_the_backward_recursion(problem: tuple[list[float], list[float], float]) -> None:
    p, cost, lam = problem
    last = len(p) - 1
    value = [0.0] * len(p)
    value[last] = lam * (1 - p[last])
    for k in reversed(range(last)):
        value[k] = min(lam * (1 - p[k]), cost[k + 1] + value[k + 1])
    first_stop = next(k for k in range(len(p)) if value[k] == lam * (1 - p[k]))
    rule = optimal_stopping_rule(p, cost, lam)
    assert rule.k_star == first_stop
    assert rule.J[rule.k_star] == cost[0] + value[0]


@pytest.mark.parametrize(("lam", "k_star"), [(1.0, 0), (10.0, 1), (30.0, 2), (50.0, 3)])
def test_the_numbers_of_the_guide(lam: float, k_star: int) -> None:
    assert optimal_stopping_rule(GUIDE_P, GUIDE_C, lam).k_star == k_star


def test_a_heavier_weight_of_quality_never_stops_at_a_worse_stage() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        p, cost = rng.random(6), rng.random(6)
        stops = [optimal_stopping_rule(p, cost, lam).k_star for lam in np.geomspace(0.01, 100, 40)]
        assert (np.diff(p[stops]) >= 0).all()


@pytest.mark.parametrize(
    ("p", "cost", "lam", "message"),
    [
        ([0.5, np.nan], [1, 1], 1, r"p\[1\] is nan"),
        ([0.5, 0.5], [np.nan, 1], 1, r"C\[0\] is nan"),
        ([0.5], [1], np.nan, "lam is nan"),
        ([0.5, 0.2, 1.5], [1, 1, 1], 1, r"p\[2\] is 1\.5; .* between 0 and 1"),
        ([-0.1], [1], 1, r"p\[0\] is -0\.1"),
        ([0.5, 0.5], [1, -2], 1, r"C\[1\] is -2\.0"),
        ([0.5], [np.inf], 1, r"C\[0\] is inf"),
        ([0.5], [1], np.inf, "lam is inf"),
        ([0.5], [1], -1, "lam is -1"),
        ([0.5, 0.6], [1], 1, "p has 2 values and C has 1"),
        ([], [], 1, r"p has shape \(0,\)"),
        ([0.5], [], 1, r"C has shape \(0,\)"),
        ([[0.5]], [1], 1, r"p has shape \(1, 1\)"),
        (0.5, [1], 1, r"p has shape \(\)"),
        (["high"], [1], 1, "p is not a list of numbers"),
        ([None], [None], 1, r"p\[0\] is nan"),
    ],
)
def test_what_is_no_problem_is_refused_by_index_and_value(
    p: list[float], cost: list[float], lam: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        optimal_stopping_rule(p, cost, lam)
    assert isinstance(caught.value, InvalidProblemError)
    assert isinstance(caught.value, AdaptiveSDError)
    assert "\n" not in str(caught.value)
