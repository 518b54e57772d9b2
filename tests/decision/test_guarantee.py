"""False statements are shown with a chance of at most the level, true ones by enough prompts."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from adaptive_sd.decision.guarantee import MeanTest, ShareTest, walk

LEVELS = st.sampled_from([0.01, 0.05, 0.2])
SIZES = st.floats(0.05, 1.0)


def every_sequence(length: int) -> np.ndarray:
    return np.array(list(itertools.product([False, True], repeat=length)))


@given(least=SIZES, most=SIZES, level=LEVELS, drift=st.floats(0, 0.5))
@settings(max_examples=40)
def test_the_capital_is_a_supermartingale_and_of_mean_zero_a_martingale(
    least: float, most: float, level: float, drift: float
) -> None:
    """All sequences of two values, each with its chance."""
    chance = least / (least + most) * (1 - drift)  # of `most`, which makes the mean at most 0
    ups = every_sequence(8)
    chances = np.where(ups, chance, 1 - chance).prod(axis=1)
    capital = np.exp(
        [MeanTest(np.where(up, most, -least), least, most).log_capital(level) for up in ups]
    )
    expected = chances @ capital
    assert (expected <= 1 + 1e-9).all() and (np.diff(expected) <= 1e-9).all()
    if not drift:
        np.testing.assert_allclose(expected, 1)


@given(least=SIZES, most=SIZES, level=st.sampled_from([0.05, 0.2, 0.4]))
@settings(max_examples=20)
def test_a_mean_of_zero_is_shown_to_be_positive_with_at_most_the_level(
    least: float, most: float, level: float
) -> None:
    ups = every_sequence(9)
    chance = least / (least + most)
    chances = np.where(ups, chance, 1 - chance).prod(axis=1)
    shown = [MeanTest(np.where(up, most, -least), least, most).shown(level) for up in ups]
    assert chances @ shown <= level + 1e-9


@pytest.mark.parametrize(("least", "most"), [(0.98, 0.02), (0.9, 1.0), (0.5, 0.005), (0.02, 1.0)])
def test_rare_losses_do_not_fool_it(least: float, most: float) -> None:
    """Of 1,000 samples of 200 with a mean just below 0, as good as at most the level are shown."""
    rng = np.random.default_rng(1)
    chance = 0.999 * least / (least + most)
    ups = rng.random((1000, 200)) < chance
    shown = [MeanTest(np.where(up, most, -least), least, most).shown(0.05) for up in ups]
    assert sum(shown) <= binom.ppf(0.999, 1000, 0.05)
    naive = [np.where(up, most, -least).mean() >= 0 for up in ups]
    assert sum(naive) > binom.ppf(0.999, 1000, 0.05)


@given(
    values=st.lists(st.floats(-0.9, 1.0), min_size=2, max_size=30),
    later=st.lists(st.floats(-0.9, 1.0), min_size=30, max_size=30),
    at=st.integers(1, 29),
    level=LEVELS,
)
def test_a_bet_knows_only_what_came_before(
    values: list[float], later: list[float], at: int, level: float
) -> None:
    at = min(at, len(values) - 1)
    changed = [*values[:at], *later[: len(values) - at]]
    ours, theirs = (MeanTest(np.array(v), 0.9, 1.0).log_capital(level) for v in (values, changed))
    assert np.isfinite(ours).all()
    np.testing.assert_array_equal(ours[:at], theirs[:at])


def test_no_prompts_show_nothing_and_what_cannot_be_negative_needs_none() -> None:
    assert not MeanTest(np.empty(0), 0.5, 1.0).shown(0.05)
    assert MeanTest(np.array([0.2]), 0.0, 1.0).shown(0.05)
    assert MeanTest(np.array([0.2]), -0.1, 1.0).num_needed(0.05) == 1


@pytest.mark.parametrize(("least", "chance"), [(0.9, 0.6), (0.98, 0.53), (0.2, 0.3)])
def test_as_many_prompts_as_are_needed_are_as_good_as_sure_to_show_it(
    least: float, chance: float
) -> None:
    rng = np.random.default_rng(0)

    def shown(num_prompts: int) -> float:
        ups = rng.random((200, num_prompts)) < chance
        tests = [MeanTest(np.where(up, 1.0, -least), least, 1.0) for up in ups]
        return float(np.mean([test.shown(0.05) for test in tests]))

    many = MeanTest(np.where(np.arange(1000) < 1000 * chance, 1.0, -least), least, 1.0)
    needed = many.num_needed(0.05)
    assert needed is not None
    assert shown(needed) > 0.85 and shown(needed // 4) < 0.5


@given(st.lists(st.floats(-0.5, 1.0), min_size=1, max_size=20))
def test_no_number_of_prompts_would_show_what_these_speak_against(values: list[float]) -> None:
    test = MeanTest(np.array(values), 0.5, 1.0)
    if np.mean(values) <= 0:
        assert test.num_needed(0.05) is None
    elif np.mean(values) > 0.01:
        assert test.num_needed(0.05) is not None and test.holds


@pytest.mark.parametrize("share", [0.5, 0.9, 0.95])
@pytest.mark.parametrize("level", [0.01, 0.05, 0.2])
def test_a_share_is_shown_just_where_so_few_outside_are_unlikely(
    share: float, level: float
) -> None:
    """Chances of all counts by counting; where the share is exact, shown at most at the level."""
    for count in (1, 10, 59, 200):
        mass = [
            math.comb(count, out) * (1 - share) ** out * share ** (count - out)
            for out in range(count + 1)
        ]
        shown = [ShareTest(np.arange(count) >= out, share).shown(level) for out in range(count + 1)]
        assert shown == [sum(mass[: out + 1]) <= level for out in range(count + 1)]
        assert np.dot(mass, shown) <= level


def test_what_a_share_needs_is_the_least_size_that_shows_it_nine_times_in_ten() -> None:
    needed = ShareTest(np.arange(100) >= 2, 0.95).num_needed(0.05)
    assert needed is not None

    def chance_to_show(count: int) -> float:
        shown = [ShareTest(np.arange(count) >= out, 0.95).shown(0.05) for out in range(count + 1)]
        return float(binom.pmf(np.flatnonzero(shown), count, 0.02).sum())

    assert chance_to_show(needed) >= 0.9 > chance_to_show(int(0.9 * needed))
    assert ShareTest(np.arange(100) >= 5, 0.95).num_needed(0.05) is None
    assert ShareTest(np.ones(3, bool), 0.95).num_needed(0.05) == pytest.approx(59, rel=0.02)


@given(st.lists(st.booleans(), max_size=8))
def test_a_walk_ends_at_the_first_that_is_not_shown(shown: list[bool]) -> None:
    found = walk(range(len(shown)), lambda step: shown[step])
    num_shown = shown.index(False) if False in shown else len(shown)
    assert found.last == (num_shown - 1 if num_shown else None)
    assert found.ended_at == (num_shown if num_shown < len(shown) else None)
