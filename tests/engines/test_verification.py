"""When a span of the draft pays, and what the verifier learns along one answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.engines.alignment import DraftTokens
from adaptive_sd.engines.verification import (
    MAX_ROWS,
    SPAN_ROWS,
    TYPICAL_RATES,
    DraftVerifier,
    best_span,
    simulate_verification,
)
from adaptive_sd.types import Acceptance, Rates
from tests.engines.margin import EAGER

CPU = Rates(0.005, 0.027, ((4, 0.084), (16, 0.18), (32, 0.32), (64, 0.61)))
GPU = Rates(0.0001, 0.02, ((16, 0.021), (64, 0.024)))


def drafted(tokens: list[int]) -> DraftTokens:
    return DraftTokens(tuple(tokens), (0.5,) * len(tokens))


@given(
    st.lists(st.floats(0, 1), max_size=70),
    st.sampled_from([CPU, GPU, TYPICAL_RATES]),
    st.integers(0, 30),
)
def test_the_best_span_saves_most_for_what_its_pass_takes(
    chances: list[float], rates: Rates, num_beside: int
) -> None:
    """Of the seconds of the pass without it, and of later rows that it spares."""
    longest, rows = len(chances), num_beside + 1
    expected = [0.0, *np.cumsum(np.cumprod(chances))]
    before_s = rates.pass_s(num_beside) if num_beside else 0.0
    row_s = min(rates.pass_s(rows) - before_s, rates.pass_s(rows) / rows)
    gains = [
        (rates.pass_s(rows) + row_s * expected[n]) / rates.pass_s(rows + n)
        for n in range(longest + 1)
    ]
    found = best_span(chances, longest, rates, num_beside)
    best = max(gains[n] for n in range(longest + 1) if n in (0, longest) or rows + n in SPAN_ROWS)
    assert gains[found] >= best * 0.98  # the search ends where hardly anything can be accepted


@given(st.lists(st.floats(0, 1), max_size=70), st.sampled_from([CPU, GPU, TYPICAL_RATES]))
def test_alone_the_best_span_gives_most_text_a_second(chances: list[float], rates: Rates) -> None:
    longest = len(chances)
    expected = [0.0, *np.cumsum(np.cumprod(chances))]
    speeds = [(expected[n] + 1) / rates.pass_s(n + 1) for n in range(longest + 1)]
    found = best_span(chances, longest, rates)
    best = max(speeds[n] for n in range(longest + 1) if n in (0, longest) or n + 1 in SPAN_ROWS)
    assert speeds[found] >= best * 0.98


@given(st.integers(0, 80))
def test_a_span_leaves_room_for_the_rows_beside_it(num_beside: int) -> None:
    verifier = DraftVerifier(drafted(list(range(100))), GPU, EAGER)
    assert len(verifier.propose(99, num_beside)) <= max(0, MAX_ROWS - 1 - num_beside)


def test_agreement_of_plainly_decoded_tokens_earns_a_span() -> None:
    verifier = DraftVerifier(drafted(list(range(100))), CPU, Acceptance())
    num_plain = 0
    while not verifier.propose(99):
        verifier.observe(num_plain)
        num_plain += 1
    assert 1 < num_plain < 30
    span = verifier.propose(99)
    assert list(span) == list(range(num_plain, num_plain + len(span)))


def test_rejections_end_the_probing() -> None:
    """A draft that matches everywhere and is wrong everywhere soon gets no more passes."""
    verifier = DraftVerifier(drafted([1, 2] * 50), CPU, Acceptance(bias=1.0, match=0.0, start=0.0))
    num_spans = 0
    for _ in range(100):
        num_spans += bool(verifier.propose(99))
        verifier.observe(1)
    assert 0 < num_spans < 12


def test_the_rest_of_the_draft_stays_in_play_where_the_answer_runs_along_it_again() -> None:
    verifier = DraftVerifier(drafted(list(range(100))), GPU, EAGER)
    assert list(verifier.propose(99)) == list(range(63))
    for token in (0, 1, 777):
        verifier.observe(token)
    verifier.count(range(63), [0, 1, 777])
    assert verifier.propose(99) == ()  # nothing in the draft follows 777
    verifier.observe(50)
    assert list(verifier.propose(15)) == list(range(51, 66))
    assert (verifier.verified.num_drafted, verifier.verified.num_accepted) == (63, 2)


NOISES = ([], list(range(1000, 5000)), [7] * 4000, list(range(40, 0, -1)) * 20)


@pytest.mark.parametrize("noise", NOISES, ids=["empty", "other", "repeated", "shuffled"])
def test_a_draft_of_no_use_costs_next_to_nothing(noise: list[int]) -> None:
    """Typical rates and acceptance: below 2 % more than decoding alone."""
    rng = np.random.default_rng(0)
    total = plain = 0.0
    for _ in range(20):
        target = rng.integers(0, 60, size=150).tolist()
        found = simulate_verification(drafted(noise), target, 500, None, None)
        total += TYPICAL_RATES.draft_s(0, len(target), found)
        plain += TYPICAL_RATES.draft_s(0, len(target))
    assert total <= 1.02 * plain


def test_a_draft_that_agrees_takes_a_fraction_of_the_decoding() -> None:
    """64 tokens where history lets the first span be large: at most 0.45 of decoding them."""
    target = list(range(64))
    found = simulate_verification(drafted(target), target, 500, None, EAGER)
    assert TYPICAL_RATES.draft_s(0, 64, found) <= 0.45 * TYPICAL_RATES.draft_s(0, 64)
