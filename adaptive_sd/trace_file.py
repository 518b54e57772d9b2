"""The traces' SQLite file in the home folder, readable by its owner."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from adaptive_sd.errors import ConfigError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS trace (
  trace_id TEXT PRIMARY KEY, created_s REAL, prompt TEXT, answer TEXT);
CREATE TABLE IF NOT EXISTS event (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, created_s REAL, trace_id TEXT, kind TEXT, fit TEXT,
  record TEXT);
CREATE INDEX IF NOT EXISTS event_of_trace ON event (trace_id);
"""


@contextmanager
def open_traces(path: Path) -> Iterator[sqlite3.Connection]:
    """One transaction on the file, which is made if need be; older ones get what they lack.

    Raises ConfigError where it cannot be read or written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        with closing(sqlite3.connect(path, timeout=10)) as database:
            database.executescript(_SCHEMA)
            with database:
                yield database
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(
            f"{path}: cannot store the trace ({error}); set ADAPTIVE_SD_HOME to a folder "
            "that can be written."
        ) from error
