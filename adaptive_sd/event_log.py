"""What an online ladder learns from, in the order it came: no texts, beside the traces."""

from __future__ import annotations

import json
import sqlite3
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from adaptive_sd.decision.observed import Observed
from adaptive_sd.errors import DataError
from adaptive_sd.prompt import prompt_hash
from adaptive_sd.trace_file import open_traces

_ANSWER, _FEEDBACK = "answer", "feedback"


class Event(NamedTuple):
    """An answer, or what was said of it, where `good` is not None; `seq` ascends.

    `prompt` is the prompt's hash, as fits keep those of theirs; "" in older files.
    """

    seq: int
    trace_id: str
    observed: Observed
    good: bool | None
    prompt: str = ""


class EventLog:
    """Only ever appended to: what was said of an answer last counts."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, trace_id: str, fit: str, text: str, observed: Observed) -> None:
        """`fit` names the artifact whose estimates these are. Raises ConfigError."""
        with open_traces(self._path) as database:
            record = {"observed": observed.to_json(), "prompt_hash": prompt_hash(text)}
            _insert(database, trace_id, _ANSWER, fit, record)

    def tell(self, trace_id: str, fit: str, *, good: bool) -> str:
        """Keep what was said of an answer; why this fit learns nothing of it, or "".

        Raises DataError for an unknown trace, and ConfigError.
        """
        unknown = f"no answer here has the trace id {trace_id!r}; `answer --json` prints it so."
        if not self._path.exists():
            raise DataError(unknown)
        with open_traces(self._path) as database:
            found = database.execute(
                "SELECT fit, record FROM event WHERE trace_id = ? AND kind = ?", (trace_id, _ANSWER)
            ).fetchone()
            known = database.execute("SELECT 1 FROM trace WHERE trace_id = ?", (trace_id,))
            if found is None and known.fetchone() is None:
                raise DataError(unknown)
            fit_of_answer, record = found or ("", "")
            _insert(database, trace_id, _FEEDBACK, fit_of_answer, {"good": good})
        if not record:
            return _NOT_LEARNED.format(
                "was not calibrated, one of its drafts was cut or failed, or it was not given by a "
                "ladder with `online = true`"
            )
        if fit_of_answer != fit:
            return (
                "kept, but this configuration's ladder learns nothing from it: the answer is of "
                "another fit; `--config` names the configuration that answered."
            )
        return _NOT_LEARNED.format("was none: the ladder abstained") if _is_none(record) else ""

    def since(self, seq: int, fit: str, num_stages: int) -> list[Event]:
        """Events after `seq` of one fit, a ladder of `num_stages`; damaged ones are warned of.

        Raises ConfigError.
        """
        if not self._path.exists():
            return []
        with open_traces(self._path) as database:
            rows = database.execute(
                "SELECT event.seq, event.trace_id, answer.record, event.record FROM event "
                "JOIN event AS answer ON answer.trace_id = event.trace_id AND answer.kind = ? "
                "WHERE event.fit = ? AND event.seq > ? ORDER BY event.seq",
                (_ANSWER, fit, seq),
            ).fetchall()
        events = (self._event(*row, num_stages=num_stages) for row in rows)
        return [event for event in events if event is not None]

    def _event(
        self, seq: int, trace_id: str, answer: str, record: str, *, num_stages: int
    ) -> Event | None:
        try:
            raw = json.loads(answer) | json.loads(record)
            good, prompt = raw.get("good"), raw.get("prompt_hash", "")
            if not isinstance(good, bool | None) or not isinstance(prompt, str):
                raise ValueError(f"good is {good!r}, prompt_hash {prompt!r}")
            observed = Observed.from_json(raw["observed"], num_stages)
        except (ValueError, KeyError, TypeError) as error:
            warnings.warn(
                f"{self._path}: event {seq} is damaged ({error}); it is left out.", stacklevel=2
            )
            return None
        return Event(seq, trace_id, observed, good, prompt)


_NOT_LEARNED = "kept, but nothing is learned from it: the answer {}."


def _is_none(answer: str) -> bool:
    """Whether the record of an answer says that none was given."""
    try:
        return json.loads(answer)["observed"]["returned"] is None
    except (ValueError, KeyError, TypeError):
        return False  # damaged: whoever learns is told


def _insert(
    database: sqlite3.Connection, trace_id: str, kind: str, fit: str, record: dict[str, Any]
) -> None:
    database.execute(
        "INSERT INTO event (created_s, trace_id, kind, fit, record) VALUES (?, ?, ?, ?, ?)",
        (time.time(), trace_id, kind, fit, json.dumps(record)),
    )
