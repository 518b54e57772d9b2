"""What is plainly wrong, or suspicious, in an answer: read off its text, with no model."""

from __future__ import annotations

from adaptive_sd.arithmetic import has_wrong_sum
from adaptive_sd.forms import Form

FAULT_NAMES = (
    "wrong_sum",
    "not_whole",
    "negative",
    "not_in_prompt",
    "share_not_in_prompt",
    "yes_or_no",
)
NO_FAULTS = (0.0,) * len(FAULT_NAMES)

_YES_OR_NO = frozenset({"yes", "no", "true", "false"})


def find_faults(answer: str, text: str, form: Form, words: str) -> tuple[float, ...]:
    """Named by FAULT_NAMES, in [0, 1]; `answer` is the canonical one in `text`.

    An equation of the text that does not come out; an answer to a question for a number that is
    no whole number, or below 0; one to a question about a passage that does not stand in the
    prompt's normalised `words`, and the share of its words that do not. What each is worth, the
    fit tells: most questions for a number want a whole one, most about a passage words of it, and
    yes and no are right by chance.
    """
    wrong_sum = form is not Form.CODE and has_wrong_sum(text)
    not_whole = form is Form.NUMBER and answer != "" and not answer.removeprefix("-").isdigit()
    negative = form is Form.NUMBER and answer.startswith("-")
    yes_or_no = answer in _YES_OR_NO
    elsewhere, share = False, 0.0
    if form is Form.READING and answer and not yes_or_no:
        whole = answer.isascii()  # other scripts may do without spaces
        elsewhere = f" {answer} " not in f" {words} " if whole else answer not in words
        share = _share_elsewhere(answer, words) if elsewhere else 0.0
    return tuple(map(float, (wrong_sum, not_whole, negative, elsewhere, share, yes_or_no)))


def _share_elsewhere(answer: str, words: str) -> float:
    said, there = answer.split(), frozenset(words.split())
    return sum(word not in there for word in said) / len(said)
