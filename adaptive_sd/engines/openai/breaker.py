"""Keeps requests from an endpoint that fails again and again."""

from __future__ import annotations

from collections.abc import Callable

THRESHOLD = 5
"""Failures in a row after which the endpoint is left alone."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 60.0


class Breaker:
    """Closed; open for a time after THRESHOLD failures in a row; then one request tries again.

    A trial that fails opens it for twice as long. Used by one thread.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._num_failures = 0
        self._pause_s = FIRST_PAUSE_S
        self._open_until = 0.0
        self._is_trying = False

    @property
    def is_open(self) -> bool:
        return self._num_failures >= THRESHOLD

    def wait_s(self) -> float:
        """0 when a request may go out, else the seconds until one may; a trial counts as begun."""
        if not self.is_open:
            return 0.0
        left = self._open_until - self._clock()
        if left > 0:
            return left
        if self._is_trying:
            return self._pause_s
        self._is_trying = True
        return 0.0

    def succeeded(self) -> None:
        self._num_failures, self._pause_s, self._is_trying = 0, FIRST_PAUSE_S, False

    def failed(self) -> None:
        self._num_failures += 1
        if self._is_trying:
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        if self.is_open:
            self._open_until = self._clock() + self._pause_s
        self._is_trying = False

    def undecided(self) -> None:
        """The request ended without telling anything of the endpoint."""
        self._is_trying = False
