"""A recording: one SQLite file with every stage's answer to every prompt; one writer."""

from __future__ import annotations

import fcntl
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.data.grading import Grade
from adaptive_sd.data.tasks import Task
from adaptive_sd.engines.alignment import DraftTokens
from adaptive_sd.engines.base import EngineInfo
from adaptive_sd.errors import DataError
from adaptive_sd.types import Draft, Rates

SCHEMA_VERSION = 2
_FIRST_VERSION = 1
"""Written by the first releases: without the tokens of drafts in its table of pairs."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS stage (
  stage_index INTEGER PRIMARY KEY, name TEXT UNIQUE, info TEXT, styles TEXT, rates TEXT);
CREATE TABLE IF NOT EXISTS prompt (id TEXT PRIMARY KEY, position INTEGER, task TEXT);
CREATE TABLE IF NOT EXISTS outcome (
  prompt_id TEXT REFERENCES prompt, stage_index INTEGER REFERENCES stage, style TEXT,
  text TEXT, token_ids BLOB, token_logprobs BLOB, token_entropies BLOB, token_margins BLOB,
  hidden BLOB, finish_reason TEXT, tokens_in INTEGER, num_cached INTEGER,
  prefill_s REAL, decode_s REAL, quality REAL, grade_reason TEXT, grader_version TEXT,
  error TEXT, PRIMARY KEY (prompt_id, stage_index));
CREATE TABLE IF NOT EXISTS pair (
  prompt_id TEXT REFERENCES prompt, drafted INTEGER, target INTEGER,
  token_ids BLOB, sureties BLOB, PRIMARY KEY (prompt_id, drafted, target));
"""


class Outcome(NamedTuple):
    """One stage's graded answer to one prompt; `draft` is None where the stage failed."""

    prompt_id: str
    stage_index: int
    style: str
    draft: Draft | None
    quality: float | None
    reason: str


class GradedText(NamedTuple):
    """An answer's text with its grade so far and the version of what graded it."""

    prompt_id: str
    stage_index: int
    text: str
    quality: float | None
    version: str


class RecordedStage(NamedTuple):
    """A stage as it was when it was recorded; `rates` of the machine, `styles` by form."""

    name: str
    info: EngineInfo
    styles: Mapping[str, str]
    rates: Rates

    def same_as(self, other: RecordedStage) -> bool:
        """Whether both answer alike; rates may differ."""
        mine, theirs = (s._replace(rates=Rates(0, 0)) for s in (self, other))
        return mine == theirs


class Pair(NamedTuple):
    """An earlier stage's draft as the target verifies it; sureties are kept as float16."""

    prompt_id: str
    drafted: int
    target: int
    draft: DraftTokens


class Recording:
    """Opened for writing by one process at a time; every outcome is committed at once."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Raises DataError when the file is in use, no recording, or of another version."""
        self.path = path
        if read_only and not path.exists():
            raise DataError(f"{path}: no such recording; make one with `adaptive-sd record`.")
        self._lock = None if read_only else _lock(path)
        try:
            self._db = sqlite3.connect(f"file:{path}?mode=ro" if read_only else path, uri=read_only)
            self._prepare(read_only)
        except sqlite3.DatabaseError as error:
            self.close()
            raise DataError(f"{path}: not a recording ({error}); choose another file.") from error
        except DataError:
            self.close()
            raise

    def _prepare(self, read_only: bool) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if read_only and version == _FIRST_VERSION:
            raise DataError(
                f"{self.path}: recording version {version}; go on with `adaptive-sd record` to "
                "bring it up to date."
            )
        if version not in (0, _FIRST_VERSION, SCHEMA_VERSION) or (read_only and version == 0):
            raise DataError(
                f"{self.path}: recording version {version}, this program reads {SCHEMA_VERSION}."
            )
        if not read_only:
            if version == _FIRST_VERSION:
                self._db.execute("DROP TABLE pair")  # made again from the answers
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.executescript(_SCHEMA)
            self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            self._db.commit()

    def put_stages(self, stages: Sequence[RecordedStage]) -> None:
        """The stages as they are now: their rates replace those of an earlier run.

        Raises DataError when the file was recorded with other stages, models or styles.
        """
        known = self.stages()
        for index, stage in enumerate(stages):
            if known and (index >= len(known) or not known[index].same_as(stage)):
                raise DataError(
                    f"{self.path}: recorded with stages {', '.join(s.name for s in known)}; stage "
                    f"{index} is now {stage.name!r} with another model, engine or style. Use a "
                    "new file."
                )
            self._db.execute(
                "INSERT INTO stage VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (stage_index) DO UPDATE SET rates = excluded.rates",
                (
                    *(index, stage.name, json.dumps(asdict(stage.info))),
                    *(json.dumps(dict(stage.styles)), json.dumps(asdict(stage.rates))),
                ),
            )
        self._db.commit()

    def stages(self) -> list[RecordedStage]:
        rows = self._db.execute("SELECT name, info, styles, rates FROM stage ORDER BY stage_index")
        return [
            RecordedStage(
                name,
                EngineInfo(**json.loads(info)),
                json.loads(styles),
                Rates.from_json(json.loads(rates)),
            )
            for name, info, styles, rates in rows
        ]

    def put_tasks(self, tasks: Sequence[Task]) -> None:
        """Add prompts; an id that stands for another prompt already is refused."""
        known = {task.id: task for task in self.tasks()}
        start = len(known)
        new = []
        for task in tasks:
            if task.id not in known:
                known[task.id] = task
                new.append(task)
            elif known[task.id] != task:
                raise DataError(f"{self.path}: id {task.id!r} stands for another prompt already.")
        self._db.executemany(
            "INSERT INTO prompt VALUES (?, ?, ?)",
            [(t.id, start + i, json.dumps(asdict(t))) for i, t in enumerate(new)],
        )
        self._db.commit()

    def tasks(self) -> list[Task]:
        """All prompts, in the order in which they were added."""
        rows = self._db.execute("SELECT task FROM prompt ORDER BY position")
        return [Task(**json.loads(raw)) for (raw,) in rows]

    def done(self) -> set[tuple[str, int]]:
        """The (prompt id, stage index) pairs that are recorded."""
        return set(self._db.execute("SELECT prompt_id, stage_index FROM outcome"))

    def put_outcome(
        self, task: Task, stage_index: int, style: str, draft: Draft, grade: Grade
    ) -> None:
        hidden = None if draft.hidden is None else draft.hidden.astype("<f2").tobytes()
        evidence = (draft.token_logprobs, draft.token_entropies, draft.token_margins)
        self._insert(
            (
                *(task.id, stage_index, style, draft.text, _blob(draft.token_ids, "<i4")),
                *(_blob(values, "<f4") for values in evidence),
                *(hidden, draft.finish_reason, draft.tokens_in, draft.num_cached),
                *(draft.prefill_s, draft.decode_s, grade.quality, grade.reason),
                *(grade.version, None),
            )
        )

    def put_error(self, task: Task, stage_index: int, style: str, error: str) -> None:
        """Record that the stage failed on this prompt; the prompt is left out of tables."""
        self._insert((task.id, stage_index, style, *[None] * 14, error))

    def put_pair(self, pair: Pair) -> None:
        """Record an earlier stage's draft in a target's tokens."""
        blobs = (_blob(pair.draft.token_ids, "<i4"), _blob(pair.draft.sureties, "<f2"))
        self._db.execute("INSERT OR REPLACE INTO pair VALUES (?, ?, ?, ?, ?)", (*pair[:3], *blobs))
        self._db.commit()

    def pairs(self) -> Iterator[Pair]:
        for prompt_id, drafted, target, *blobs in self._db.execute("SELECT * FROM pair"):
            ids, sureties = (
                _array(blob, kind) for blob, kind in zip(blobs, ("<i4", "<f2"), strict=True)
            )
            draft = DraftTokens(tuple(ids.tolist()), tuple(sureties.tolist()))
            yield Pair(prompt_id, drafted, target, draft)

    def paired(self) -> set[tuple[str, int, int]]:
        """(prompt id, drafting stage, target) of what `pairs` gives."""
        return set(self._db.execute("SELECT prompt_id, drafted, target FROM pair"))

    def graded(self) -> list[GradedText]:
        """Every answer with the version of what graded it."""
        rows = self._db.execute(
            "SELECT prompt_id, stage_index, text, quality, grader_version FROM outcome "
            "WHERE error IS NULL"
        )
        return [GradedText(*row) for row in rows]

    def put_grade(self, prompt_id: str, stage_index: int, grade: Grade) -> None:
        """Replace the grade of a recorded answer."""
        self._db.execute(
            "UPDATE outcome SET quality = ?, grade_reason = ?, grader_version = ? "
            "WHERE prompt_id = ? AND stage_index = ?",
            (*grade, prompt_id, stage_index),
        )
        self._db.commit()

    def gaps(self) -> dict[str, int]:
        """How many answers failed or were not graded, by reason."""
        rows = self._db.execute(
            "SELECT coalesce(error, grade_reason) AS reason, count(*) FROM outcome "
            "WHERE quality IS NULL GROUP BY reason ORDER BY count(*) DESC, reason"
        )
        return dict(rows.fetchall())

    def _insert(self, row: tuple[object, ...], *, commit: bool = True) -> None:
        self._db.execute(f"INSERT INTO outcome VALUES ({', '.join('?' * len(row))})", row)
        if commit:
            self._db.commit()

    def reuse(self, other: Recording, style_of: Callable[[Task, int], str]) -> int:
        """Take over answers of the same stages to the same prompts; returns how many.

        The same: model file, engine and, by `style_of` (task, stage index), the style asked in.
        """
        tasks = {task.id: task for task in self.tasks()}
        shared = {task.id for task in other.tasks() if tasks.get(task.id) == task}
        done, taken = self.done(), 0
        for theirs, stage in enumerate(other.stages()):
            for ours, own in enumerate(self.stages()):
                if own.info != stage.info:
                    continue
                for prompt_id, _, style, *rest in other._db.execute(
                    "SELECT * FROM outcome WHERE stage_index = ? AND error IS NULL", (theirs,)
                ):
                    if prompt_id not in shared or (prompt_id, ours) in done:
                        continue
                    if style == style_of(tasks[prompt_id], ours):
                        self._insert((prompt_id, ours, style, *rest), commit=False)
                        taken += 1
        self._db.commit()
        return taken

    def outcomes(self, prompt_id: str | None = None) -> Iterator[Outcome]:
        """Every recorded answer, or those to one prompt, ordered by prompt and stage."""
        rows = self._db.execute(
            "SELECT o.* FROM outcome o JOIN prompt p ON p.id = o.prompt_id "
            "WHERE ?1 IS NULL OR o.prompt_id = ?1 ORDER BY p.position, o.stage_index",
            (prompt_id,),
        )
        for found_id, stage_index, style, *values in rows:
            draft = None if values[-1] is not None else _draft(values)
            quality, reason = values[11], values[12] if draft else values[-1]
            yield Outcome(found_id, stage_index, style, draft, quality, reason)

    def close(self) -> None:
        if hasattr(self, "_db"):
            self._db.close()
        if self._lock is not None:
            self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _lock(path: Path):  # type: ignore[no-untyped-def]
    handle = path.with_name(path.name + ".lock").open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        handle.close()
        raise DataError(f"{path}: another process is recording into it; wait for it.") from error
    return handle


def _blob(values: Sequence[float], dtype: str) -> bytes:
    return np.asarray(values, dtype=dtype).tobytes()


def _array(blob: bytes, dtype: str) -> NDArray[np.generic]:
    return np.frombuffer(blob, dtype=dtype)


def _draft(values: Sequence[object]) -> Draft:
    text, ids, logprobs, entropies, margins, hidden, finish, tokens_in, cached, prefill, decode = (
        values[:11]
    )
    return Draft(
        text=text,  # type: ignore[arg-type]
        token_ids=tuple(_array(ids, "<i4").tolist()),  # type: ignore[arg-type]
        token_logprobs=tuple(_array(logprobs, "<f4").tolist()),  # type: ignore[arg-type]
        token_entropies=tuple(_array(entropies, "<f4").tolist()),  # type: ignore[arg-type]
        token_margins=tuple(_array(margins, "<f4").tolist()),  # type: ignore[arg-type]
        finish_reason=finish,  # type: ignore[arg-type]
        tokens_in=tokens_in,  # type: ignore[arg-type]
        prefill_s=prefill,  # type: ignore[arg-type]
        decode_s=decode,  # type: ignore[arg-type]
        num_cached=cached,  # type: ignore[arg-type]
        hidden=None if hidden is None else np.frombuffer(hidden, "<f2"),  # type: ignore[call-overload]
    )
