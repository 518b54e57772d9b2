"""Retries are few, spread, and never before the server wants them."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.engines.openai.retries import (
    LONGEST_WAIT_S,
    MAX_RETRIES,
    RetryBudget,
    asked_wait_s,
    backoff_s,
)

NOW = datetime(2026, 11, 29, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        ("7", 7.0),
        (" 0.5 ", 0.5),
        ("-3", 0.0),
        ("Sun, 29 Nov 2026 12:01:30 GMT", 90.0),
        ("Sun, 29 Nov 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, wait_s: float | None) -> None:
    assert asked_wait_s({"retry-after": value}, NOW) == wait_s


def test_without_the_header_nothing_was_asked() -> None:
    assert asked_wait_s({}, NOW) is None


@given(st.integers(1, 9), st.none() | st.floats(0, 100), st.integers(0, 99))
def test_a_pause_is_at_least_what_was_asked_and_bounded(
    num_tries: int, asked_s: float | None, seed: int
) -> None:
    pause_s = backoff_s(num_tries, asked_s, random.Random(seed))
    if num_tries > MAX_RETRIES or (asked_s or 0) > LONGEST_WAIT_S:
        assert pause_s is None
    else:
        assert pause_s is not None
        assert (asked_s or 0) <= pause_s <= (asked_s or 0) + 1


def test_pauses_differ_between_clients() -> None:
    assert len({backoff_s(1, None, random.Random(seed)) for seed in range(20)}) == 20


@given(st.lists(st.booleans(), max_size=300))
def test_retries_are_a_tenth_of_the_requests_and_a_few(is_retry: list[bool]) -> None:
    budget = RetryBudget()
    num_sent = num_retried = 0
    for wants in is_retry:
        if wants:
            num_retried += budget.spend()
        else:
            budget.earn()
            num_sent += 1
        assert num_retried <= 5 + 0.1 * num_sent
