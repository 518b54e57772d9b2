"""Area and cost of a target: by hand, and laws on wild points."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.offline.replay.curve import Scale, area, cost_at, upper_hull

SCALE = Scale(
    cheapest_cost=1.0, cheapest_quality=0.4, dearest_cost=5.0, best_quality=0.8, best_cost=5.0
)
points = st.lists(
    st.tuples(st.floats(0, 10, allow_subnormal=False), st.floats(0, 1, allow_subnormal=False)),
    min_size=1,
    max_size=12,
)


def columns(pairs: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    cost, quality = np.array(pairs, dtype=float).T
    return cost, quality


def plain_height(place: float, pairs: list[tuple[float, float]], scale: Scale) -> float:
    """The definition read aloud: the best mixture of two points that costs no more."""
    if place < min(cost for cost, _ in pairs):
        return scale.cheapest_quality
    within = [(c, q) for c, q in pairs if c <= place]
    beyond = [(c, q) for c, q in pairs if c > place]
    mixed = [q + (place - c) / (d - c) * (r - q) for c, q in within for d, r in beyond if d > c]
    return max([q for _, q in within] + mixed)


def test_one_point() -> None:
    """0.4 on a quarter of the range, then 0.6."""
    assert area(np.array([2.0]), np.array([0.6]), SCALE) == pytest.approx(0.4 / 4 + 0.6 * 3 / 4)


def test_two_points() -> None:
    """Up from 0.4 at 1 to 0.8 at 3, then flat: (0.6 * 2 + 0.8 * 2) / 4."""
    assert area(np.array([1.0, 3.0]), np.array([0.4, 0.8]), SCALE) == pytest.approx(0.7)


def test_the_curve_does_not_fall() -> None:
    cost, quality = np.array([1.0, 3.0, 5.0]), np.array([0.4, 0.8, 0.5])
    assert area(cost, quality, SCALE) == pytest.approx(0.7)


def test_a_point_left_of_the_range_counts_where_its_line_enters() -> None:
    """From 0.4 at -1 to 0.8 at 3: 0.6 at 1."""
    assert area(np.array([-1.0, 3.0]), np.array([0.4, 0.8]), SCALE) == pytest.approx(0.75)


def test_points_right_of_the_range_count_up_to_its_end() -> None:
    assert area(np.array([9.0]), np.array([1.0]), SCALE) == pytest.approx(0.4)


def test_stages_of_one_cost_leave_the_height_there() -> None:
    flat = SCALE._replace(dearest_cost=1.0)
    assert area(np.array([1.0, 1.0]), np.array([0.3, 0.7]), flat) == pytest.approx(0.7)
    assert area(np.array([2.0]), np.array([0.9]), flat) == pytest.approx(0.4)


@given(points)
def test_the_area_is_that_under_the_best_mixtures(pairs: list[tuple[float, float]]) -> None:
    edges = sorted({1.0, 5.0, *(c for c, _ in pairs if 1 < c < 5)})
    total = 0.0
    for low, high in itertools.pairwise(edges):
        # within a piece the curve may bend only at points, so its middle is its mean
        total += plain_height((low + high) / 2, pairs, SCALE) * (high - low)
    assert area(*columns(pairs), SCALE) == pytest.approx(total / 4, abs=1e-6)


@given(points, st.floats(0.1, 50), st.floats(0, 20))
def test_the_area_does_not_depend_on_the_unit_of_cost(
    pairs: list[tuple[float, float]], factor: float, shift: float
) -> None:
    cost, quality = columns(pairs)
    other = SCALE._replace(cheapest_cost=factor + shift, dearest_cost=5 * factor + shift)
    moved = area(factor * cost + shift, quality, other)
    # a point on the edge of the range may fall to its other side by rounding
    edge = np.abs(cost - 1.0).min() < 1e-9 or np.abs(cost - 5.0).min() < 1e-9
    assert edge or moved == pytest.approx(area(cost, quality, SCALE), abs=1e-6)


@given(points, st.tuples(st.floats(0, 10), st.floats(0.4, 1)))
def test_one_more_point_takes_no_area(
    pairs: list[tuple[float, float]], more: tuple[float, float]
) -> None:
    """At least as good as the cheapest stage, or it could end the flat part on the left early."""
    with_it = area(*columns([*pairs, more]), SCALE)
    assert with_it >= area(*columns(pairs), SCALE) - 1e-9


@given(points)
def test_the_hull_ascends_and_bends_down(pairs: list[tuple[float, float]]) -> None:
    cost, quality = upper_hull(*columns(pairs))
    assert (np.diff(cost) > 0).all() and (np.diff(quality) > 0).all()
    assert quality[-1] == max(q for _, q in pairs)
    for c, q in pairs:
        assert np.interp(c, cost, quality) >= q - 1e-9


def test_cost_at_takes_the_cheapest_point_that_is_good_enough() -> None:
    cost, quality = np.array([1.0, 2.0, 4.0]), np.array([0.7, 0.79, 0.9])
    assert cost_at(0.98, cost, quality, SCALE) == pytest.approx(2 / 5)
    assert cost_at(1.0, cost, quality, SCALE) == pytest.approx(4 / 5)
    assert cost_at(1.0, cost[:2], quality[:2], SCALE) is None


def test_the_scale_is_of_the_cheapest_the_dearest_and_the_best_stage() -> None:
    scale = Scale.of(np.array([2.0, 1.0, 9.0, 3.0]), np.array([0.5, 0.3, 0.8, 0.8]))
    assert scale == Scale(1.0, 0.3, 9.0, 0.8, 3.0)
