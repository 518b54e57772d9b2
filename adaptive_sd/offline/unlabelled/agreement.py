"""Quality without labels: how far a stage's answer agrees with the largest stage's."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.data.grading import token_f1
from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.errors import DataError
from adaptive_sd.forms import Form
from adaptive_sd.offline.answers import canonical_answers, prompt_views

CLOSED = (Form.CHOICE, Form.NUMBER, Form.CODE)
"""Forms whose answers are the same or not; those of the others are more or less alike."""
MEASURE = {
    **dict.fromkeys(Form, "token F1 of normalised words"),
    Form.CHOICE: "the same letter",
    Form.NUMBER: "the same number",
    Form.CODE: "the same text of a program",
}
"""What agreement is, in words."""


class Agreed(NamedTuple):
    """A table whose quality is agreement, and why prompts are not in it."""

    table: OutcomeTable
    num_failed: int
    num_unanswered: int


def similarity(ours: str, theirs: str, form: Form) -> float:
    """Of two canonical answers, in [0, 1]; the same either way round, and 1 for equal ones.

    Token F1 is what labelled text is graded by too; it told the right answers of a smaller stage
    from wrong ones as well as ROUGE-L did, and on programs it told nothing.
    """
    if ours == theirs or form in CLOSED:
        return float(ours == theirs)
    return token_f1(ours.split(), theirs.split())


def check_stages(num_stages: int) -> None:
    """Raise DataError for a ladder without anything to agree with."""
    if num_stages < 2:
        raise DataError("one stage agrees with itself; a ladder to calibrate has two or more.")


def grade_by_agreement(table: OutcomeTable) -> Agreed:
    """What was graded does not count; the largest stage's quality is 1.

    Left out are prompts on which a stage failed, and those to which the largest stage has no
    answer: nothing that can be read as one, or of a closed form one that was cut off. Raises
    DataError for a table of one stage or without answers.
    """
    answers, num_stages = table.columns.get("answer"), len(table.stages)
    check_stages(num_stages)
    if answers is None:
        raise DataError(
            "the table has no column 'answer', which agreement is told by; export or import it "
            "with its answers."
        )
    prompts = prompt_views(table)
    found = canonical_answers(table, prompts)
    closed = np.array([prompt.form in CLOSED for prompt in prompts], dtype=np.bool_)
    has_none = np.array(
        [[text is None for text in row] for row in answers.tolist()], dtype=np.bool_
    )
    failed = np.any(has_none & np.isnan(table.quality), axis=1)
    unanswered = ~failed & ((found.numbers[:, -1] == 0) | (closed & _is_cut(table)))
    kept = np.flatnonzero(~failed & ~unanswered)
    texts = [[found.texts[number] for number in found.numbers[n]] for n in kept]
    quality = np.array(
        [
            [similarity(text, row[-1], prompts[n].form) for text in row]
            for n, row in zip(kept, texts, strict=True)
        ]
    ).reshape(len(kept), num_stages)
    agreed = replace(
        table.take(kept),
        quality=quality,
        num_left_out=len(prompts) - len(kept),
        agreement_with=table.stages[-1].name,
    )
    return Agreed(agreed, int(failed.sum()), int(unanswered.sum()))


def _is_cut(table: OutcomeTable) -> NDArray[np.bool_]:
    """Where the largest stage ran out of tokens, (num_prompts,); nowhere if that is not told."""
    cut = table.columns.get("signal_finished_by_length", np.zeros(table.quality.shape))
    return np.asarray(cut[:, -1].astype(np.float64) > 0)
