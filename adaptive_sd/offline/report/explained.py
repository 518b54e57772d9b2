"""One recorded prompt explained: what the policy does and why, and what each stage brought."""

from __future__ import annotations

import difflib
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from adaptive_sd.artifact import Artifact
from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.induction import lam_grid
from adaptive_sd.decision.lams import nearest_lam
from adaptive_sd.decision.paths import follow
from adaptive_sd.errors import DataError
from adaptive_sd.offline.prompts import prompt_texts
from adaptive_sd.offline.replay.field import Field, Subject
from adaptive_sd.offline.replay.halves import split
from adaptive_sd.offline.replay.seen import see_with
from adaptive_sd.offline.report.examples import StageAnswer, stage_answers
from adaptive_sd.offline.report.recorded import answer_recorded
from adaptive_sd.trace import Answer


@dataclass(frozen=True, slots=True)
class Explained:
    """`answer` is how the policy comes to what it returns; `stages` are what they are in truth."""

    prompt_id: str
    prompt: str
    lam_origin: str
    answer: Answer
    stages: tuple[StageAnswer, ...]

    @property
    def quality(self) -> float:
        """In truth, of what is returned."""
        return self.stages[self.answer.stage_index].quality

    def to_json(self, table: str) -> dict[str, object]:
        """`table` names the table in the document."""
        answer = self.answer.to_json()
        return {
            "table": table,
            "prompt_id": self.prompt_id,
            "prompt": self.prompt,
            "lambda": self.answer.lam,
            "lambda_origin": self.lam_origin,
            "stage": self.answer.stage,
            "estimate": self.answer.quality,
            "agreement_with": self.answer.agreement_with,
            "quality": self.quality,
            "cost": self.answer.cost,
            "stages": [asdict(stage) for stage in self.stages],
            "opening": answer["opening"],
            "trace": answer["trace"],
        }


class _Place(NamedTuple):
    subject: Subject
    row: int


def explain_recorded(
    table: OutcomeTable,
    prompt_id: str,
    *,
    artifact: Artifact | None = None,
    lam: float | None = None,
    seed: int = 0,
) -> Explained:
    """By the artifact, else by what `replay` fits on the fit half; `lam`: else the recommended.

    Raises DataError for an unknown prompt and for one that was fitted on, since its estimates
    would be those of a prompt that is known; ConfigError for a lambda outside the fit's grid.
    """
    row = _row_of(table, prompt_id)
    if lam is not None and artifact is not None:
        nearest_lam(artifact.policy.lam_grid, lam)  # raises before any work
    with threadpool_limits(limits=1):
        place = (
            _fitted(table, row, lam, seed) if artifact is None else _judged(artifact, table, row)
        )
    subject = place.subject
    chosen = subject.recommended_lam if lam is None else lam
    only = np.array([place.row])
    (path,) = follow(subject.policy, subject.table.take(only), chosen)
    return Explained(
        prompt_id=prompt_id,
        prompt=prompt_texts(subject.outcomes.take(only))[0],
        lam_origin=subject.origin_of(lam),
        answer=answer_recorded(subject, place.row, chosen),
        stages=stage_answers(subject, place.row, path),
    )


def _row_of(table: OutcomeTable, prompt_id: str) -> int:
    if prompt_id in table.prompt_ids:
        return table.prompt_ids.index(prompt_id)
    near = difflib.get_close_matches(prompt_id, table.prompt_ids, 3, 0) or table.prompt_ids[:3]
    raise DataError(
        f"no graded prompt {prompt_id[:80]!r} in the table; the nearest are "
        f"{', '.join(map(repr, near))}."
    )


def _judged(artifact: Artifact, table: OutcomeTable, row: int) -> _Place:
    seen = see_with(artifact, table)
    if seen.overlap.was_fitted_on[row]:
        raise DataError(
            f"the artifact was fitted on prompt {table.prompt_ids[row]!r}, so that its estimates "
            f"there show nothing; ask for another, like {_id(table, seen.overlap.measurable)}."
        )
    return _Place(Subject.of(artifact, seen.table, table), row)


def _fitted(table: OutcomeTable, row: int, lam: float | None, seed: int) -> _Place:
    parts = split(table, seed=seed)
    if lam is not None:
        nearest_lam(lam_grid(table.cost[parts.fit]), lam)
    place = np.flatnonzero(parts.test == row)
    if not len(place):
        other = "" if parts.own else ", or another --seed"
        raise DataError(
            f"prompt {table.prompt_ids[row]!r} is in the half to fit on, so that estimates there "
            f"show nothing; ask for one of the other half, like {_id(table, parts.test)}{other}."
        )
    return _Place(Field(table, None, seed=seed).subject, int(place[0]))


def _id(table: OutcomeTable, rows: np.ndarray) -> str:
    return repr(table.prompt_ids[rows[0]])
