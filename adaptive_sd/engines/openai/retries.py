"""When a request that got no answer is sent again."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MAX_RETRIES = 2
LONGEST_WAIT_S = 30.0
"""A server that asks to wait longer is not waited for."""

_BASE_S = 0.25
_SHARE = 0.1
_MOST_SAVED = 5.0


class RetryBudget:
    """A tenth of the requests and a few saved ones: no storm on a server in trouble."""

    def __init__(self) -> None:
        self._saved = _MOST_SAVED

    def earn(self) -> None:
        """A request is sent for the first time."""
        self._saved = min(self._saved + _SHARE, _MOST_SAVED)

    def spend(self) -> bool:
        """Whether a retry may be sent, which is then counted."""
        if self._saved < 1:
            return False
        self._saved -= 1
        return True


def backoff_s(num_tries: int, asked_s: float | None, rng: random.Random) -> float | None:
    """Seconds to wait after so many tries (at least 1); None: do not try again.

    What the server asked for, else up to a bound that doubles; all of it random, so that clients
    that failed together do not come back together.
    """
    if num_tries > MAX_RETRIES or (asked_s is not None and asked_s > LONGEST_WAIT_S):
        return None
    jitter_s = rng.uniform(0, _BASE_S * 2**num_tries)
    return jitter_s if asked_s is None else asked_s + jitter_s


def asked_wait_s(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """The seconds that a reply's retry-after names, as a number or a date; None without one."""
    value = headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(value)) if value else None
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, (until - (now or datetime.now(UTC))).total_seconds())
