"""A recording: one SQLite file with every stage's answer to every prompt; one writer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from adaptive_sd.closing import Closing
from adaptive_sd.data.grading import Grade
from adaptive_sd.data.tasks import Task
from adaptive_sd.engines.alignment import DraftTokens
from adaptive_sd.engines.base import EngineInfo
from adaptive_sd.errors import DataError
from adaptive_sd.offline.draft_rows import array, blob, read_draft, write_draft
from adaptive_sd.offline.recording_file import RecordingFile
from adaptive_sd.stage_record import StageRecord
from adaptive_sd.types import Draft, Rates, Votes


class Outcome(NamedTuple):
    """One stage's graded answer to one prompt; `draft` is None where the stage failed."""

    prompt_id: str
    stage_index: int
    style: str
    draft: Draft | None
    quality: float | None
    reason: str
    grader_version: str

    @property
    def num_votes(self) -> int:
        """Answers of which it was elected; 1 for a plain one."""
        return len(self.draft.votes.drafts) if self.draft and self.draft.votes else 1


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
    votes: int = 1

    def to_record(self) -> StageRecord:
        """What a table says of it."""
        info = self.info
        return StageRecord(
            *(self.name, info.model, info.model_hash, self.styles, self.rates),
            num_parameters=info.num_parameters,
            votes=self.votes,
        )

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
        """The stages as they are now; of one that is there the rates of the first run are kept.

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
            (*(json.dumps(part) for part in (asdict(s.info), dict(s.styles), asdict(s.rates))),)
            for s in stages
        ]
        self._file.write(
            "INSERT INTO stage VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (stage_index) DO NOTHING",
            [
                (index, stage.name, *row, stage.votes)
                for index, (stage, row) in enumerate(zip(stages, described, strict=True))
            ],
        )

    def stages(self) -> list[RecordedStage]:
        query = "SELECT name, info, styles, rates, votes FROM stage ORDER BY stage_index"
        return list(self._file.read(query, make=_stage))

    def put_tasks(self, tasks: Sequence[Task]) -> list[Task]:
        """Add prompts and return them, each once; an id of another prompt already is refused."""
        known = {task.id: task for task in self.tasks()}
        start = len(known)
        for task in tasks:
            if known.setdefault(task.id, task) != task:
                raise DataError(
                    f"{self.path}: id {task.id!r} stands for another prompt already; give it "
                    "another, or record into another file."
                )
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
        self.put_outcomes([Outcome(task.id, stage_index, style, draft, *grade)])

    def put_outcomes(self, outcomes: Sequence[Outcome]) -> None:
        """Record answers; their votes first, so that an answer that is there is whole."""
        drafts = [(outcome, outcome.draft) for outcome in outcomes if outcome.draft is not None]
        votes = [
            # the hidden state, which is the prompt's, stands in the outcome
            (*outcome[:2], place, *write_draft(replace(vote, hidden=None)))
            for outcome, draft in drafts
            for place, vote in enumerate(draft.votes.drafts if draft.votes else ())
        ]
        self._file.write(f"INSERT OR REPLACE INTO vote VALUES ({_marks(14)})", votes)
        self._put(
            *((*outcome[:3], *write_draft(draft), *outcome[4:], None) for outcome, draft in drafts)
        )

    def put_error(self, task: Task, stage_index: int, style: str, error: str) -> None:
        """Record that the stage failed on this prompt; the prompt is left out of tables."""
        self._put((task.id, stage_index, style, *[None] * 14, error))

    def put_pair(self, pair: Pair) -> None:
        """Record an earlier stage's draft in a target's tokens."""
        blobs = (blob(pair.draft.token_ids, "<i4"), blob(pair.draft.sureties, "<f2"))
        self._file.write(
            "INSERT OR REPLACE INTO pair VALUES (?, ?, ?, ?, ?)", [(*pair[:3], *blobs)]
        )

    def pairs(self) -> Iterator[Pair]:
        return self._file.read("SELECT * FROM pair", make=_pair)

    def unpaired(self) -> list[str]:
        """Ids of prompts with an earlier and a later stage's plain answer that lack their pair."""
        query = (
            "SELECT DISTINCT a.prompt_id FROM outcome a "
            "JOIN outcome b ON b.prompt_id = a.prompt_id AND b.stage_index > a.stage_index "
            "WHERE a.error IS NULL AND b.error IS NULL AND NOT EXISTS (SELECT 1 FROM pair p WHERE "
            "(p.prompt_id, p.drafted, p.target) = (a.prompt_id, a.stage_index, b.stage_index)) "
            "AND NOT EXISTS (SELECT 1 FROM vote v WHERE "
            "(v.prompt_id, v.stage_index) = (b.prompt_id, b.stage_index))"
        )
        return list(self._file.read(query, make=str))

    def cached(self) -> list[tuple[str, int, str, int]]:
        """(prompt id, stage index, style, cached prompt tokens) of answers that read any others."""
        query = "SELECT prompt_id, stage_index, style, CAST(num_cached AS INTEGER) FROM outcome"
        return list(self._file.read(f"{query} WHERE num_cached < tokens_in", make=lambda *row: row))

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

    def outcomes(self, prompt_id: str | None = None) -> Iterator[Outcome]:
        """Every recorded answer, or those to one prompt, ordered by prompt and stage."""
        votes: dict[tuple[str, int], list[Draft]] = {}
        of_one, one = ("", ()) if prompt_id is None else ("WHERE prompt_id = ?", (prompt_id,))
        query = f"SELECT * FROM vote {of_one} ORDER BY place"
        for place, vote in self._file.read(query, one, make=_vote):
            votes.setdefault(place, []).append(vote)

        def make(*values: Any) -> Outcome:
            return _outcome(*values, votes=tuple(votes.get(values[:2], ())))

        query = (
            f"SELECT o.* FROM (SELECT * FROM outcome {of_one}) o "
            "JOIN prompt p ON p.id = o.prompt_id "
            "ORDER BY p.position, o.stage_index"
        )
        return self._file.read(query, one, make=make)

    def close(self) -> None:
        self._file.close()

    def _put(self, *rows: tuple[object, ...]) -> None:
        """Outcomes, in the place of errors or nothing."""
        self._file.write(f"INSERT OR REPLACE INTO outcome VALUES ({_marks(18)})", rows)


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _stage(name: str, info: str, styles: str, rates: str, votes: int) -> RecordedStage:
    return RecordedStage(
        name,
        EngineInfo(**json.loads(info)),
        json.loads(styles),
        Rates.from_json(json.loads(rates)),
        int(votes),
    )


def _pair(prompt_id: str, drafted: int, target: int, token_ids: bytes, sureties: bytes) -> Pair:
    ids, sure = array(token_ids, "<i4"), array(sureties, "<f2")
    if len(ids) != len(sure):
        raise ValueError(f"{len(sure)} sureties of {len(ids)} tokens")
    return Pair(prompt_id, drafted, target, DraftTokens(tuple(ids.tolist()), tuple(sure.tolist())))


def _vote(prompt_id: str, stage_index: int, _: int, *values: Any) -> tuple[tuple[str, int], Draft]:
    return (prompt_id, stage_index), read_draft(*values)


def _outcome(
    prompt_id: str, stage_index: int, style: str, *values: Any, votes: tuple[Draft, ...]
) -> Outcome:
    *of_draft, quality, reason, version, error = values
    if error is not None:
        return Outcome(prompt_id, stage_index, style, None, None, error, "")
    draft = read_draft(*of_draft)
    if votes:
        draft = replace(draft, votes=Votes(votes, votes))
    return Outcome(prompt_id, stage_index, style, draft, quality, reason, version)
