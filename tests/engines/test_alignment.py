"""Where an answer stands in a draft, and what is known of its tokens in another tokenizer."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.engines.alignment import Alignment, Place, carry_logprobs, surety_of

TOKENS = st.lists(st.integers(0, 3), max_size=40)


def longest_match(answer: list[int], draft: list[int]) -> Place | None:
    """By trying every place: the first of those with the longest match."""
    best = Place(0, 0) if draft and not answer else None
    for at in range(1, len(draft)):
        num = 0
        while num < min(at, len(answer)) and draft[at - 1 - num] == answer[-1 - num]:
            num += 1
        if num > (best.num_matching if best else 0):
            best = Place(at, num)
    return best


@given(TOKENS, TOKENS)
def test_the_best_place_is_that_of_the_longest_match(answer: list[int], draft: list[int]) -> None:
    alignment = Alignment(draft)
    for i, token in enumerate(answer):
        assert alignment.best() == longest_match(answer[:i], draft)
        alignment.push(token)
    assert alignment.best() == longest_match(answer, draft)


@given(st.lists(st.tuples(st.integers(1, 5), st.floats(-9, 0)), max_size=20))
def test_the_same_tokens_keep_their_logprobs(tokens: list[tuple[int, float]]) -> None:
    ends = [sum(n for n, _ in tokens[: i + 1]) for i in range(len(tokens))]
    logprobs = [logprob for _, logprob in tokens]
    assert carry_logprobs(ends, logprobs, ends) == logprobs


@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=20),
    st.lists(st.integers(1, 6), min_size=1, max_size=20),
)
def test_a_token_has_the_least_logprob_that_it_overlaps(ours: list[int], theirs: list[int]) -> None:
    owner = [i for i, n in enumerate(ours) for _ in range(n)]
    ends = [sum(ours[: i + 1]) for i in range(len(ours))]
    logprobs = [-float((7 * i) % 5) for i in range(len(ours))]
    target_ends = [sum(theirs[: i + 1]) for i in range(len(theirs))]
    begin = 0
    for end, found in zip(target_ends, carry_logprobs(ends, logprobs, target_ends), strict=True):
        overlapped = {owner[byte] for byte in range(begin, min(end, len(owner)))}
        if overlapped:
            assert found == min(logprobs[i] for i in overlapped)
        else:
            assert math.isnan(found)
        begin = end


@given(st.floats(-50, 0), st.floats(-50, 0))
def test_surety_rises_with_the_logprob_and_is_bounded(a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert 0 <= surety_of(low) <= surety_of(high) < 2.4
    assert surety_of(math.log(0.5)) == pytest.approx(math.log(2) / 3)
    assert 0 < surety_of(math.nan) < 1


def test_a_match_that_runs_is_not_lost_at_a_frequent_token() -> None:
    draft = [token for i in range(900) for token in (1000 + i, 2000 + i, 7)]
    alignment = Alignment(draft)
    for at, token in enumerate(draft):
        assert alignment.best() == Place(at, at)
        alignment.push(token)


def test_of_a_frequent_token_only_the_first_places_begin_a_match() -> None:
    alignment = Alignment([1] * 300 + [2, 3])
    for token in (1, 2):
        alignment.push(token)
    assert alignment.best() == Place(301, 1)  # the 1 before it was one too many


def test_a_draft_of_one_token_again_and_again_can_be_followed() -> None:
    alignment = Alignment([1] * 4000)
    for _ in range(300):
        alignment.push(1)
    assert alignment.best() == Place(300, 300)
