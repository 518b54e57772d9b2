"""A recording: one SQLite file with every stage's answer to every prompt; one writer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.closing import Closing
from adaptive_sd.data.grading import Grade
from adaptive_sd.data.tasks import Task
from adaptive_sd.engines.alignment import DraftTokens
from adaptive_sd.engines.base import EngineInfo
from adaptive_sd.errors import DataError
from adaptive_sd.offline.recording_file import RecordingFile
from adaptive_sd.types import Draft, FinishReason, Rates


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
    """An earlier stage's draft in the target's tokens, with an end of turn also where it was cut.

    Sureties are kept as float16.
    """

    prompt_id: str
    drafted: int
    target: int
    draft: DraftTokens


class Recording(Closing):
    """Opened for writing by one process at a time; every outcome is committed at once.

    Everything raises DataError when the file is damaged or cannot be used.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Raises DataError when the file is in use, no recording, damaged, or of another version.

        A file that is refused has not been changed.
        """
        self.path = path
        self._file = RecordingFile(path, read_only=read_only)

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
        described = [
            (name, *(json.dumps(part) for part in (asdict(info), dict(styles), asdict(rates))))
            for name, info, styles, rates in stages
        ]
        self._file.write(
            "INSERT INTO stage VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (stage_index) DO UPDATE SET rates = excluded.rates",
            [(index, *row) for index, row in enumerate(described)],
        )

    def stages(self) -> list[RecordedStage]:
        query = "SELECT name, info, styles, rates FROM stage ORDER BY stage_index"
        return list(self._file.read(query, make=_stage))

    def put_tasks(self, tasks: Sequence[Task]) -> list[Task]:
        """Add prompts and return them, each once; an id of another prompt already is refused."""
        known = {task.id: task for task in self.tasks()}
        start = len(known)
        for task in tasks:
            if known.setdefault(task.id, task) != task:
                raise DataError(f"{self.path}: id {task.id!r} stands for another prompt already.")
        rows = [(t.id, n, json.dumps(asdict(t))) for n, t in enumerate(known.values())]
        self._file.write("INSERT INTO prompt VALUES (?, ?, ?)", rows[start:])
        return list({task.id: task for task in tasks}.values())

    def tasks(self) -> list[Task]:
        """All prompts, in the order in which they were added."""
        query = "SELECT task FROM prompt ORDER BY position"
        return list(self._file.read(query, make=lambda raw: Task(**json.loads(raw))))

    def done(self) -> set[tuple[str, int]]:
        """The (prompt id, stage index) pairs that are answered; those that failed are not."""
        query = "SELECT prompt_id, stage_index FROM outcome WHERE error IS NULL"
        return set(self._file.read(query, make=lambda *pair: pair))

    def put_outcome(
        self, task: Task, stage_index: int, style: str, draft: Draft, grade: Grade
    ) -> None:
        hidden = None if draft.hidden is None else draft.hidden.astype("<f2").tobytes()
        evidence = (draft.token_logprobs, draft.token_entropies, draft.token_margins)
        self._put(
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
        self._put((task.id, stage_index, style, *[None] * 14, error))

    def put_pair(self, pair: Pair) -> None:
        """Record an earlier stage's draft in a target's tokens."""
        blobs = (_blob(pair.draft.token_ids, "<i4"), _blob(pair.draft.sureties, "<f2"))
        self._file.write(
            "INSERT OR REPLACE INTO pair VALUES (?, ?, ?, ?, ?)", [(*pair[:3], *blobs)]
        )

    def pairs(self) -> Iterator[Pair]:
        return self._file.read("SELECT * FROM pair", make=_pair)

    def paired(self) -> set[tuple[str, int, int]]:
        """(prompt id, drafting stage, target) of what `pairs` gives."""
        query = "SELECT prompt_id, drafted, target FROM pair"
        return set(self._file.read(query, make=lambda *key: key))

    def graded(self) -> list[GradedText]:
        """Every answer with the version of what graded it."""
        query = (
            "SELECT prompt_id, stage_index, text, quality, grader_version FROM outcome "
            "WHERE error IS NULL"
        )
        return list(self._file.read(query, make=GradedText))

    def put_grade(self, prompt_id: str, stage_index: int, grade: Grade) -> None:
        """Replace the grade of a recorded answer."""
        self._file.write(
            "UPDATE outcome SET quality = ?, grade_reason = ?, grader_version = ? "
            "WHERE prompt_id = ? AND stage_index = ?",
            [(*grade, prompt_id, stage_index)],
        )

    def gaps(self) -> dict[str, int]:
        """How many answers failed or were not graded, by reason."""
        query = (
            "SELECT coalesce(error, grade_reason) AS reason, count(*) FROM outcome "
            "WHERE quality IS NULL GROUP BY reason ORDER BY count(*) DESC, reason"
        )
        return dict(self._file.read(query, make=lambda *gap: gap))

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
                query = "SELECT * FROM outcome WHERE stage_index = ? AND error IS NULL"
                rows = [
                    (prompt_id, ours, style, *rest)
                    for prompt_id, _, style, *rest in other._file.read(
                        query, (theirs,), make=lambda *row: row
                    )
                    if prompt_id in shared
                    and (prompt_id, ours) not in done
                    and style == style_of(tasks[prompt_id], ours)
                ]
                self._put(*rows)
                taken += len(rows)
        return taken

    def outcomes(self, prompt_id: str | None = None) -> Iterator[Outcome]:
        """Every recorded answer, or those to one prompt, ordered by prompt and stage."""
        query = (
            "SELECT o.* FROM outcome o JOIN prompt p ON p.id = o.prompt_id "
            "WHERE ?1 IS NULL OR o.prompt_id = ?1 ORDER BY p.position, o.stage_index"
        )
        return self._file.read(query, (prompt_id,), make=_outcome)

    def close(self) -> None:
        self._file.close()

    def _put(self, *rows: tuple[object, ...]) -> None:
        """Outcomes, in the place of errors or nothing."""
        self._file.write(f"INSERT OR REPLACE INTO outcome VALUES ({', '.join('?' * 18)})", rows)


def _stage(name: str, info: str, styles: str, rates: str) -> RecordedStage:
    return RecordedStage(
        name,
        EngineInfo(**json.loads(info)),
        json.loads(styles),
        Rates.from_json(json.loads(rates)),
    )


def _pair(prompt_id: str, drafted: int, target: int, token_ids: bytes, sureties: bytes) -> Pair:
    ids, sure = _array(token_ids, "<i4"), _array(sureties, "<f2")
    if len(ids) != len(sure):
        raise ValueError(f"{len(sure)} sureties of {len(ids)} tokens")
    return Pair(prompt_id, drafted, target, DraftTokens(tuple(ids.tolist()), tuple(sure.tolist())))


def _outcome(prompt_id: str, stage_index: int, style: str, *values: Any) -> Outcome:
    *of_draft, quality, reason, _, error = values
    if error is not None:
        return Outcome(prompt_id, stage_index, style, None, None, error)
    return Outcome(prompt_id, stage_index, style, _draft(*of_draft), quality, reason)


def _draft(
    text: str,
    token_ids: bytes,
    token_logprobs: bytes,
    token_entropies: bytes,
    token_margins: bytes,
    hidden: bytes | None,
    finish_reason: FinishReason,
    tokens_in: int,
    num_cached: int,
    prefill_s: float,
    decode_s: float,
) -> Draft:
    """Raises ValueError or TypeError for values of other kinds, which SQLite would hold too."""
    if not isinstance(text, str) or finish_reason not in get_args(FinishReason):
        raise ValueError(f"an answer ended by {finish_reason!r:.40}")
    return Draft(
        text=text,
        token_ids=tuple(_array(token_ids, "<i4").tolist()),
        token_logprobs=tuple(_array(token_logprobs, "<f4").tolist()),
        token_entropies=tuple(_array(token_entropies, "<f4").tolist()),
        token_margins=tuple(_array(token_margins, "<f4").tolist()),
        finish_reason=finish_reason,
        tokens_in=int(tokens_in),
        prefill_s=float(prefill_s),
        decode_s=float(decode_s),
        num_cached=int(num_cached),
        hidden=None if hidden is None else np.frombuffer(hidden, "<f2"),
    )


def _blob(values: Sequence[float], dtype: str) -> bytes:
    return np.asarray(values, dtype=dtype).tobytes()


def _array(blob: bytes, dtype: str) -> NDArray[np.generic]:
    return np.frombuffer(blob, dtype=dtype)
