"""The answers of a table in their prompts' forms, and which of them are the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.faults import FAULT_NAMES, find_faults
from adaptive_sd.decision.features import PromptView
from adaptive_sd.forms import Form, canonical_answer, detect_form
from adaptive_sd.offline.prompts import prompt_texts, text_of


def prompt_views(table: OutcomeTable) -> tuple[PromptView, ...]:
    if "prompt" not in table.columns:
        return (PromptView(Form.OPEN),) * len(table.prompt_ids)
    return tuple(PromptView.of(text, detect_form(text)) for text in prompt_texts(table))


class Answers(NamedTuple):
    """Canonical answers, "" for none: `texts[numbers[n, k]]` is stage k's to prompt n.

    Equal answers have one number.
    """

    texts: tuple[str, ...]
    numbers: NDArray[np.int64]  # (num_prompts, num_stages)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """In characters, (num_prompts, num_stages)."""
        return np.array([len(text) for text in self.texts])[self.numbers]

    @property
    def agreement(self) -> NDArray[np.bool_]:
        """Which stages gave the same answer, (num_prompts, num_stages, num_stages)."""
        found = self.numbers
        same: NDArray[np.bool_] = found[:, :, None] == found[:, None, :]
        return same & (found > 0)[:, :, None]


def canonical_answers(table: OutcomeTable, prompts: Sequence[PromptView]) -> Answers:
    """None of any stage where the table has no column `answer`.

    In tables of others, which do not describe their stages, an answer may be the bare answer.
    """
    column = table.columns.get("answer")
    if column is None:
        return Answers(("",), np.zeros(table.quality.shape, np.int64))
    bare = not any(stage.model for stage in table.stages)
    numbers = {"": 0}
    known = {form: _Numbered(form, bare, numbers) for form in Form}
    found = np.array(
        [
            [known[prompt.form][text] for text in texts]
            for prompt, texts in zip(prompts, column.tolist(), strict=True)
        ],
        dtype=np.int64,
    ).reshape(table.quality.shape)
    return Answers(tuple(numbers), found)


def answer_faults(
    table: OutcomeTable, prompts: Sequence[PromptView], answers: Answers
) -> NDArray[np.float32]:
    """Those of each answer, (num_prompts, num_stages, len(FAULT_NAMES)); see find_faults.

    A bare answer that is none in the prompt's form has none, as live.
    """
    faults = np.zeros((*table.quality.shape, len(FAULT_NAMES)), dtype=np.float32)
    column = table.columns.get("answer")
    if column is None:
        return faults
    for n, (prompt, texts) in enumerate(zip(prompts, column.tolist(), strict=True)):
        for k, text in enumerate(map(text_of, texts)):
            answer = answers.texts[answers.numbers[n, k]]
            if answer == text.strip().casefold():
                answer = canonical_answer(text, prompt.form)
            faults[n, k] = find_faults(answer, text, prompt.form, prompt.words)
    return faults


class _Numbered(dict[object, int]):
    """From an answer's text to the number of its canonical form, made when it is first asked."""

    def __init__(self, form: Form, bare: bool, numbers: dict[str, int]) -> None:
        self._form, self._bare, self._numbers = form, bare, numbers

    def __missing__(self, text: object) -> int:
        answer = _canonical(text, self._form, self._bare)
        self[text] = number = self._numbers.setdefault(answer, len(self._numbers))
        return number


def _canonical(given: object, form: Form, bare: bool) -> str:
    text = text_of(given)
    answer = canonical_answer(text, form)
    if bare and not answer:  # a letter to a question that looks like one for a number
        answer = text.strip().casefold()
    return answer
