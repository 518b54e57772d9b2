"""Measured quality of an answer, in [0, 1]; "not graded" is never "wrong"."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple, Protocol

from adaptive_sd.data.sandbox import run_code
from adaptive_sd.forms import find_code, find_letter, find_number, normalise_words

if TYPE_CHECKING:
    from adaptive_sd.data.tasks import Task

GRADER_VERSION = "2"
_VERSIONS = {"number": "4", "exact": "3", "f1": "3"}


def version_of(grader: str) -> str:
    """Of a built-in grader; a recording grades again what another version graded."""
    return _VERSIONS.get(grader, GRADER_VERSION)


class Grade(NamedTuple):
    """Quality, None when it was not graded, and why; `version` names what graded it.

    An empty version: it could not be graded this time, and another time should be tried.
    """

    quality: float | None
    reason: str
    version: str = GRADER_VERSION


class Grader(Protocol):
    """Grades answers, without ever raising; a changed grader has another version."""

    @property
    def version(self) -> str: ...

    def grade(self, task: Task, text: str) -> Grade: ...


def grade(task: Task, text: str) -> Grade:
    """Grade by the built-in grader that the task names. Never raises."""
    if reason := refusal(task):
        return Grade(None, f"the task's {reason}", version="")
    found = _GRADERS[task.grader](task, text)
    return found._replace(version=version_of(task.grader)) if found.version else found


def refusal(task: Task, installed: Sequence[str] = ()) -> str | None:
    """Why no answer to this task can ever be graded; None when one can.

    `installed` are further graders' names, which take every task.
    """
    if task.grader not in (*GRADER_NAMES, *installed):
        known = ", ".join((*GRADER_NAMES, *installed))
        return f"'grader' is {task.grader!r:.40}; known: {known}"
    if task.grader == "choice" and not re.fullmatch(r"\s*[A-Za-z]\s*", task.answer):
        return f"'answer' is {task.answer!r:.40}; it must be a letter"
    if task.grader == "number" and _read_number(task.answer) is None:
        return f"'answer' is {task.answer!r:.40}; it must be a number"
    return None


def _verdict(right: bool, found: object, wanted: object) -> Grade:
    return Grade(float(right), f"found {found!r:.60}, wanted {wanted!r:.60}")


def _choice(task: Task, text: str) -> Grade:
    wanted = task.answer.strip().upper()
    found = find_letter(text, max("J", wanted))
    return _verdict(found == wanted, found, wanted)


def _number(task: Task, text: str) -> Grade:
    wanted, found = _read_number(task.answer), _read_number(text)
    assert wanted is not None  # else it was refused
    right = found is not None and abs(found - wanted) <= abs(wanted) / 10**6
    return _verdict(right, None if found is None else str(found), task.answer)


def _read_number(text: str) -> Fraction | None:
    return find_number(_plain_numbers(text))


_BARE_FRACTION = re.compile(r"\\([dt]?)frac(\d)(\d)")
_BEGIN = r"(?<![\w.,/\\^])"
_MIXED_NUMBER = re.compile(
    _BEGIN + r"(\d{1,9})(?:\s?\\[dt]?frac\{(\d{1,9})\}\{([1-9]\d{0,8})\}"
    r"|[^\S\n](\d{1,9})/([1-9]\d{0,8})(?![\w/]|\.\d))"
)
_SCIENTIFIC = re.compile(_BEGIN + r"\d{1,20}(?:\.\d{1,20})?[eE][+-]?\d{1,2}(?![\w^]|\.\d)")


def _plain_numbers(text: str) -> str:
    r"""Rarer spellings in common ones: 1{,}000, 1\,000, \frac12, 1\frac{1}{2}, 1 1/2 and 1.5e3."""
    text = re.sub(r"(?<=[\d,])(\{,\}|\\[,!;])(?=\d{3})", "", text)
    text = _BARE_FRACTION.sub(r"\\\1frac{\2}{\3}", text)
    text = _SCIENTIFIC.sub(lambda found: f"{Decimal(found[0]):f}", text)
    text = _MIXED_NUMBER.sub(_improper, text)
    return re.sub(r"\$(?=\d+/\d)", "", text)  # else it is the sign of the upper number alone


def _improper(mixed: re.Match[str]) -> str:
    """As one fraction; 10 7/2 are two numbers."""
    whole, top, bottom = (int(part) for part in mixed.groups() if part is not None)
    return f"{whole * bottom + top}/{bottom}" if top < bottom else mixed[0]


def _exact(task: Task, text: str) -> Grade:
    """Equal after normalisation; with closed labels, the first label in the answer counts."""
    wanted, found = _words(task.answer), _words(text)
    labels = task.extra.get("labels")
    if isinstance(labels, list) and found != wanted:
        at = {
            label: place
            for label in map(_words, map(str, labels))
            if label and (place := f" {found} ".find(f" {label} ")) >= 0
        }
        found = min(at, key=lambda label: (at[label], -len(label)), default=found)
    return _verdict(found == wanted, found, wanted)


def _words(text: str) -> str:
    """Normalised; a text of nothing but articles or signs stays, and is not like an empty one."""
    return normalise_words(text) or text.strip().casefold()


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
    """Best token F1 over the aliases (Rajpurkar et al. 2016); none is right where there is none."""
    found = _words(text).split()
    aliases = [words for alias in _aliases(task) if (words := _words(alias).split())]
    best = max(token_f1(found, wanted) for wanted in aliases or [[]])
    return Grade(best, f"found {' '.join(found)!r:.60}")


def token_f1(found: Sequence[str], wanted: Sequence[str]) -> float:
    """Harmonic mean of precision and recall of the words, in any order (Rajpurkar et al. 2016)."""
    if not found or not wanted:
        return float(not found and not wanted)
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
    if result.passed is None:  # another time, or on another system, it may run
        return Grade(None, result.reason, version="")
    return Grade(float(result.passed), result.reason)


def _none(task: Task, text: str) -> Grade:
    return Grade(None, "this set has no grader")


def _judge(task: Task, text: str) -> Grade:
    return Grade(None, "only a judge can grade this: give --judge or --judge-stage", version="")


_GRADERS: dict[str, Callable[[Task, str], Grade]] = {
    "choice": _choice,
    "number": _number,
    "exact": _exact,
    "contains": _contains,
    "f1": _f1,
    "code": _code,
    "judge": _judge,
    "none": _none,
}
GRADER_NAMES = tuple(_GRADERS)
