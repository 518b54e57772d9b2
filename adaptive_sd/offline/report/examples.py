"""Some prompts in full: what every stage answered, what the policy did and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.paths import Path
from adaptive_sd.offline.prompts import prompt_texts
from adaptive_sd.offline.replay.field import Subject
from adaptive_sd.offline.report.recorded import answer_recorded
from adaptive_sd.trace import Step

NUM_EXAMPLES = 12
_MAX_PROMPT = 3000
_MAX_ANSWER = 1500


@dataclass(frozen=True, slots=True)
class StageAnswer:
    """`estimate` is the stage's own predictor's; `text` is None where the table has none."""

    stage: str
    text: str | None
    estimate: float
    quality: float
    cost: float
    ran: bool
    returned: bool


@dataclass(frozen=True, slots=True)
class Example:
    """`num_alike` prompts of the table took the same path."""

    prompt_id: str
    group: str
    prompt: str
    path: tuple[str, ...]
    returned: str
    num_alike: int
    quality: float
    cost: float
    answers: tuple[StageAnswer, ...]
    steps: tuple[Step, ...]


def choose_examples(
    subject: Subject, paths: Sequence[Path], lam: float, *, rng: np.random.Generator
) -> tuple[Example, ...]:
    """One prompt of each path, the commonest first, and again, until there are enough."""
    rows_of: dict[Path, list[int]] = {}
    for row in rng.permutation(len(paths)).tolist():
        rows_of.setdefault(paths[row], []).append(row)
    order = sorted(rows_of, key=lambda path: (-len(rows_of[path]), path))
    rounds = range(max(map(len, rows_of.values())))
    turns = [rows_of[path][turn] for turn in rounds for path in order if turn < len(rows_of[path])]
    chosen = sorted(turns[:NUM_EXAMPLES], key=lambda row: order.index(paths[row]))
    prompts = prompt_texts(subject.outcomes.take(np.array(chosen)))
    return tuple(
        _example(subject, row, paths[row], prompts[n], lam, len(rows_of[paths[row]]))
        for n, row in enumerate(chosen)
    )


def _example(
    subject: Subject,
    row: int,
    path: Path,
    prompt: str,
    lam: float,
    num_alike: int,
) -> Example:
    outcomes = subject.outcomes
    names = [stage.name for stage in outcomes.stages]
    answer = answer_recorded(subject, row, lam)
    return Example(
        prompt_id=outcomes.prompt_ids[row],
        group=_group(outcomes, row),
        prompt=_shortened(prompt, _MAX_PROMPT),
        path=tuple(names[k] for k in path.stages),
        returned=answer.stage,
        num_alike=num_alike,
        quality=float(outcomes.quality[row, answer.stage_index]),
        cost=answer.cost,
        answers=stage_answers(subject, row, path),
        steps=answer.trace,
    )


def stage_answers(subject: Subject, row: int, path: Path) -> tuple[StageAnswer, ...]:
    """What each stage brought on prompt `row`, whether it ran or not."""
    outcomes = subject.outcomes
    return tuple(
        StageAnswer(
            stage=stage.name,
            text=_text(outcomes, row, k),
            estimate=float(subject.table.told(k)[row]),
            quality=float(outcomes.quality[row, k]),
            cost=float(outcomes.cost[row, k]),
            ran=k in path.stages,
            returned=k == path.returned,
        )
        for k, stage in enumerate(outcomes.stages)
    )


def _group(outcomes: OutcomeTable, row: int) -> str:
    """Data set and category, where they are told."""
    columns = (outcomes.columns.get(name) for name in ("dataset", "category"))
    values = [str(c[row, 0]) for c in columns if c is not None and c[row, 0]]
    return " / ".join(dict.fromkeys(values))


def _text(outcomes: OutcomeTable, row: int, stage: int) -> str | None:
    column = outcomes.columns.get("answer")
    if column is None or column[row, stage] is None:
        return None
    return _shortened(str(column[row, stage]), _MAX_ANSWER)


def _shortened(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    return f"{text[:limit]} … ({len(text) - limit} more characters)"
