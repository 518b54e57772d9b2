"""The SQLite file of a recording: one writer, and one line for whatever is wrong with it."""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TypeVar

from adaptive_sd.closing import Closing
from adaptive_sd.errors import DataError

SCHEMA_VERSION = 3
_T = TypeVar("_T")

_TABLES = {"stage", "prompt", "outcome", "pair"}
_PAIR = """
CREATE TABLE pair (
  prompt_id TEXT REFERENCES prompt, drafted INTEGER, target INTEGER,
  token_ids BLOB, sureties BLOB, PRIMARY KEY (prompt_id, drafted, target));
"""
_DRAFT = """
  text TEXT, token_ids BLOB, token_logprobs BLOB, token_entropies BLOB, token_margins BLOB,
  hidden BLOB, finish_reason TEXT, tokens_in INTEGER, num_cached INTEGER,
  prefill_s REAL, decode_s REAL"""
_VOTE = f"""
CREATE TABLE vote (
  prompt_id TEXT REFERENCES prompt, stage_index INTEGER REFERENCES stage, place INTEGER,
  {_DRAFT}, PRIMARY KEY (prompt_id, stage_index, place));
"""
_CREATE = f"""
BEGIN;
CREATE TABLE stage (
  stage_index INTEGER PRIMARY KEY, name TEXT UNIQUE, info TEXT, styles TEXT, rates TEXT,
  votes INTEGER DEFAULT 1);
CREATE TABLE prompt (id TEXT PRIMARY KEY, position INTEGER, task TEXT);
CREATE TABLE outcome (
  prompt_id TEXT REFERENCES prompt, stage_index INTEGER REFERENCES stage, style TEXT,
  {_DRAFT}, quality REAL, grade_reason TEXT, grader_version TEXT,
  error TEXT, PRIMARY KEY (prompt_id, stage_index));
{_PAIR}
{_VOTE}
PRAGMA user_version={SCHEMA_VERSION};
COMMIT;
"""
_UPGRADES = {
    # The first version's pairs had no tokens; they are made again from the answers.
    1: f"DROP TABLE pair; {_PAIR}",
    2: f"ALTER TABLE stage ADD COLUMN votes INTEGER DEFAULT 1; {_VOTE}",
}
"""From each older version to the next."""


class RecordingFile(Closing):
    """Opened for writing by one process at a time; what is written is committed at once.

    Everything raises DataError when the file is damaged or cannot be used.
    """

    def __init__(self, path: Path, *, read_only: bool) -> None:
        """Raises DataError when the file is in use, no recording, damaged, or of another version.

        A file that is refused has not been changed.
        """
        self._path = path
        version = _version_of(path) if path.exists() else 0
        if read_only and version == 0:
            raise DataError(f"{path}: no such recording; make one with `adaptive-sd record`.")
        if read_only and version < SCHEMA_VERSION:
            raise DataError(
                f"{path}: recording version {version}; run `adaptive-sd record` on it once more, "
                "which brings it up to date."
            )
        with ExitStack() as stack, _told(path):
            if not read_only:
                stack.enter_context(_lock(path))
                path.touch(mode=0o600)  # prompts are their owner's
            self._database = stack.enter_context(_connect(path, "ro" if read_only else "rwc"))
            if not read_only:
                self._database.execute("PRAGMA journal_mode=WAL")
            if version < SCHEMA_VERSION:
                self._database.executescript(_upgrade(version) if version else _CREATE)
            self._opened = stack.pop_all()

    def read(
        self, query: str, values: Sequence[object] = (), *, make: Callable[..., _T]
    ) -> Iterator[_T]:
        """What `make` makes of the values of each row; it may raise for those that are damaged."""
        with _told(self._path, (sqlite3.Error, *_DAMAGE)):
            for row in self._database.execute(query, values):
                yield make(*row)

    def write(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        """Run the statement for all rows or, on any failure, for none."""
        with _told(self._path), self._database:
            self._database.executemany(statement, rows)

    def close(self) -> None:
        self._opened.close()


def _upgrade(version: int) -> str:
    """All steps from an older version on, in one transaction."""
    steps = " ".join(step for since, step in _UPGRADES.items() if since >= version)
    return f"BEGIN; {steps} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;"


_DAMAGE = (ValueError, TypeError, KeyError, OverflowError, RecursionError)
"""What decoding values raises that were not written as they are."""


@contextmanager
def _told(path: Path, kinds: tuple[type[Exception], ...] = (sqlite3.Error,)) -> Iterator[None]:
    try:
        yield
    except kinds as error:
        raise DataError(
            f"{path}: not a recording, damaged, or not writable "
            f"({' '.join(str(error).split()):.200}); use a copy of it or another file."
        ) from error


def _connect(path: Path, mode: str) -> closing[sqlite3.Connection]:
    uri = f"{path.absolute().as_uri()}?mode={mode}"  # quotes what has a meaning in a URI
    return closing(sqlite3.connect(uri, uri=True))


def _version_of(path: Path) -> int:
    """0 of an empty file; raises DataError unless it is that, or a whole recording."""
    with _told(path, (sqlite3.Error, UnicodeDecodeError)), _connect(path, "ro") as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_schema")}
        version, application = (
            database.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("user_version", "application_id")
        )
        if not (tables or version or application):
            return 0
        if not tables >= _TABLES:
            raise DataError(f"{path}: not a recording; choose another file.")
        if not 1 <= version <= SCHEMA_VERSION:
            raise DataError(
                f"{path}: recording version {version}, this program reads {SCHEMA_VERSION}; record "
                "again into a new file."
            )
        (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if found == "ok" and database.execute("PRAGMA foreign_key_check").fetchone():
            found = "answers to unknown prompts"
        if found != "ok":
            raise sqlite3.DatabaseError(found)
    return int(version)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.with_name(path.name + ".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(
                f"{path}: another process is recording into it; wait for it."
            ) from error
        yield
