"""What an online ladder learns from, in the order it came: numbers only, beside the traces."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path
from typing import Any, NamedTuple

from adaptive_sd.decision.observed import Observed
from adaptive_sd.errors import ConfigError, DataError
from adaptive_sd.trace_file import open_traces

_ANSWER, _FEEDBACK = "answer", "feedback"


class Event(NamedTuple):
    """An answer, or what was said of it, where `good` is not None; `seq` ascends."""

    seq: int
    trace_id: str
    observed: Observed
    good: bool | None


class EventLog:
    """Only ever appended to: what was said of an answer last counts."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, trace_id: str, fit: str, observed: Observed) -> None:
        """`fit` names the artifact whose estimates these are. Raises ConfigError."""
        with open_traces(self._path) as database:
            _insert(database, trace_id, _ANSWER, fit, {"observed": observed.to_json()})

    def tell(self, trace_id: str, *, good: bool) -> bool:
        """Keep what was said of an answer; False where there is nothing to learn of it.

        Raises DataError for an unknown trace, and ConfigError.
        """
        with open_traces(self._path) as database:
            found = database.execute(
                "SELECT fit, record FROM event WHERE trace_id = ? AND kind = ?", (trace_id, _ANSWER)
            ).fetchone()
            known = database.execute("SELECT 1 FROM trace WHERE trace_id = ?", (trace_id,))
            if found is None and known.fetchone() is None:
                raise DataError(
                    f"no answer here has the trace id {trace_id!r}; `answer --json` prints it "
                    "as trace_id."
                )
            fit, record = found or ("", "{}")
            _insert(database, trace_id, _FEEDBACK, fit, json.loads(record) | {"good": good})
        return found is not None

    def since(self, seq: int, fit: str) -> list[Event]:
        """Events after `seq` of one fit. Raises ConfigError."""
        with open_traces(self._path) as database:
            rows = database.execute(
                "SELECT seq, trace_id, record FROM event WHERE fit = ? AND seq > ? ORDER BY seq",
                (fit, seq),
            ).fetchall()
        return [self._event(*row) for row in rows]

    def _event(self, seq: int, trace_id: str, record: str) -> Event:
        try:
            raw = json.loads(record)
            return Event(seq, trace_id, Observed.from_json(raw["observed"]), raw.get("good"))
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{self._path}: event {seq} is damaged ({error}); move the file away."
            ) from error


def _insert(
    database: sqlite3.Connection, trace_id: str, kind: str, fit: str, record: dict[str, Any]
) -> None:
    database.execute(
        "INSERT INTO event (created_s, trace_id, kind, fit, record) VALUES (?, ?, ?, ?, ?)",
        (time.time(), trace_id, kind, fit, json.dumps(record)),
    )
