"""When an endpoint is left alone, and for how long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.engines.openai.breaker import FIRST_PAUSE_S, LONGEST_PAUSE_S, THRESHOLD, Breaker


class Clock:
    """Time that the test passes."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def opened() -> tuple[Breaker, Clock]:
    clock = Clock()
    breaker = Breaker(clock)
    for _ in range(THRESHOLD):
        assert breaker.wait_s() == 0
        breaker.failed()
    return breaker, clock


def test_failures_in_a_row_open_it_and_a_success_between_them_does_not() -> None:
    breaker, _ = opened()
    assert breaker.wait_s() == FIRST_PAUSE_S
    other = Breaker(Clock())
    for _ in range(3):
        for _ in range(THRESHOLD - 1):
            other.failed()
        other.succeeded()
    assert other.wait_s() == 0


def test_after_the_pause_one_request_tries_and_the_others_wait() -> None:
    breaker, clock = opened()
    clock.now += FIRST_PAUSE_S
    assert breaker.wait_s() == 0
    assert breaker.wait_s() > 0
    breaker.undecided()  # the caller ended it: another may try
    assert breaker.wait_s() == 0
    breaker.succeeded()
    assert breaker.wait_s() == breaker.wait_s() == 0


def test_a_trial_that_fails_waits_twice_as_long_up_to_a_bound() -> None:
    breaker, clock = opened()
    pauses = []
    for _ in range(8):
        pauses.append(breaker.wait_s())
        clock.now += pauses[-1]
        assert breaker.wait_s() == 0
        breaker.failed()
    assert pauses == [min(FIRST_PAUSE_S * 2**k, LONGEST_PAUSE_S) for k in range(8)]


@given(st.lists(st.sampled_from(["succeeded", "failed", "undecided", "wait"]), max_size=60))
def test_it_is_open_iff_the_last_decided_requests_all_failed(events: list[str]) -> None:
    clock = Clock()
    breaker = Breaker(clock)
    decided: list[str] = []
    for event in events:
        if event == "wait":
            clock.now += 1000
            continue
        if breaker.wait_s() > 0:
            continue
        getattr(breaker, event)()
        decided += [event] if event != "undecided" else []
        assert breaker.is_open == (
            len(decided) >= THRESHOLD and set(decided[-THRESHOLD:]) == {"failed"}
        )
