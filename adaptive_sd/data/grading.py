"""Measured quality of an answer, in [0, 1]; "not graded" is never "wrong"."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from adaptive_sd.data.sandbox import run_code
from adaptive_sd.data.tasks import Task
from adaptive_sd.errors import DataError
from adaptive_sd.forms import find_code, find_letter, find_number, normalise_words

GRADER_VERSION = "2"


class Grade(NamedTuple):
    """Quality, None when it was not graded, and why."""

    quality: float | None
    reason: str


def grade(task: Task, text: str) -> Grade:
    """Raises DataError for an unknown grader."""
    grader = _GRADERS.get(task.grader)
    if grader is None:
        raise DataError(
            f"task {task.id!r}: unknown grader {task.grader!r}; known: {', '.join(_GRADERS)}."
        )
    return grader(task, text)


def _verdict(right: bool, found: object, wanted: object) -> Grade:
    return Grade(float(right), f"found {found!r:.60}, wanted {wanted!r:.60}")


def _choice(task: Task, text: str) -> Grade:
    wanted = task.answer.strip().upper()
    if not re.fullmatch("[A-Z]", wanted):
        raise DataError(f"task {task.id!r}: answer {task.answer!r:.40} is not a letter.")
    found = find_letter(text, max("J", wanted))
    return _verdict(found == wanted, found, wanted)


def _number(task: Task, text: str) -> Grade:
    wanted, found = find_number(task.answer), find_number(text)
    if wanted is None:
        raise DataError(f"task {task.id!r}: answer {task.answer!r} is not a number.")
    right = found is not None and abs(found - wanted) <= abs(wanted) / 10**6
    return _verdict(right, None if found is None else str(found), task.answer)


def _exact(task: Task, text: str) -> Grade:
    """Equal after normalisation; with closed labels, the first label in the answer counts."""
    wanted, found = normalise_words(task.answer), normalise_words(text)
    labels = task.extra.get("labels")
    if isinstance(labels, list) and found != wanted:
        at = {
            label: place
            for label in map(normalise_words, map(str, labels))
            if label and (place := f" {found} ".find(f" {label} ")) >= 0
        }
        found = min(at, key=lambda label: (at[label], -len(label)), default=found)
    return _verdict(found == wanted, found, wanted)


def _aliases(task: Task) -> list[str]:
    aliases = task.extra.get("answers") or [task.answer]
    return [str(a) for a in aliases] if isinstance(aliases, list) else [task.answer]


def _contains(task: Task, text: str) -> Grade:
    found = f" {normalise_words(text)} "
    wanted = [normal for a in _aliases(task) if (normal := normalise_words(a))]
    if not wanted:
        return Grade(None, f"no alias of {task.answer!r:.40} has a word to look for")
    return _verdict(any(f" {alias} " in found for alias in wanted), found.strip(), wanted)


def _f1(task: Task, text: str) -> Grade:
    """Best token F1 over the aliases (Rajpurkar et al. 2016)."""
    found = normalise_words(text).split()
    best = max(_token_f1(found, normalise_words(alias).split()) for alias in _aliases(task))
    return Grade(best, f"found {' '.join(found)!r:.60}")


def _token_f1(found: list[str], wanted: list[str]) -> float:
    if not found or not wanted:
        return float(found == wanted)
    common = sum((Counter(found) & Counter(wanted)).values())
    return 2 * common / (len(found) + len(wanted))


def _code(task: Task, text: str) -> Grade:
    """The answer's tests pass; a body alone is put after the prompt's signature."""
    code, entry = find_code(text), task.extra.get("entry_point")
    entry_point = entry if isinstance(entry, str) and entry else None
    if entry_point:
        signature = re.compile(rf"^(async )?def {re.escape(entry_point)}\b", re.MULTILINE)
        at = signature.search(task.prompt)
        if not signature.search(code):
            code = task.prompt + code
        elif at:
            code = task.prompt[: at.start()] + code  # its imports and helpers
    result = run_code(code, str(task.extra.get("test", "")), entry_point)
    return Grade(None if result.passed is None else float(result.passed), result.reason)


def _none(task: Task, text: str) -> Grade:
    return Grade(None, "this set has no grader")


_GRADERS: dict[str, Callable[[Task, str], Grade]] = {
    "choice": _choice,
    "number": _number,
    "exact": _exact,
    "contains": _contains,
    "f1": _f1,
    "code": _code,
    "none": _none,
}
