"""Rows of hub data sets as questions: one function for each published schema."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from adaptive_sd.forms import normalise_words

Row = Mapping[str, Any]
_LETTERS = "ABCDEFGHIJ"


@dataclass(frozen=True, slots=True)
class Question:
    """What a row asks; `key` is the row's own id where the set has one."""

    prompt: str
    answer: str
    grader: str
    category: str = ""
    key: str | None = None
    extra: Mapping[str, object] = field(default_factory=dict)


def mmlu(row: Row) -> Question:
    """`choices` is a list and `answer` the right one's place."""
    return _choice(row["question"], row["choices"], int(row["answer"]), row["subject"])


def mmlu_pro(row: Row) -> Question:
    """Up to ten `options`; `answer_index` is the right one's place."""
    right = int(row["answer_index"])
    key = str(row["question_id"])
    return _choice(row["question"], row["options"], right, row["category"], key)


def arc(row: Row) -> Question:
    """`choices` has `text` and `label`; labels are letters or digits."""
    labels: list[str] = list(row["choices"]["label"])
    right = labels.index(row["answerKey"])
    return _choice(row["question"], row["choices"]["text"], right, key=row["id"])


def truthful_qa(row: Row) -> Question:
    """Of `mc1_targets` the right choice comes first, so they are shuffled; at most ten stay."""
    targets = row["mc1_targets"]
    right = targets["choices"][list(targets["labels"]).index(1)]
    wrong = [c for c, label in zip(targets["choices"], targets["labels"], strict=True) if not label]
    choices = [right, *wrong][: len(_LETTERS)]
    random.Random(row["question"]).shuffle(choices)
    return _choice(row["question"], choices, choices.index(right))


def gsm8k(row: Row) -> Question:
    """The number stands after #### in `answer`."""
    answer = row["answer"].rsplit("####", 1)[1].strip()
    return Question(row["question"], answer, "number")


def math(row: Row) -> Question:
    """The answer is what the `solution` boxes; one that is no number needs a judge."""
    return _mathematics(row, _last_boxed(row["solution"]), row["type"], None)


def math_500(row: Row) -> Question:
    """As `math`, with a field `answer`."""
    return _mathematics(row, row["answer"], row["subject"], row["unique_id"])


def human_eval(row: Row) -> Question:
    """`test` defines check(candidate)."""
    extra = {"test": row["test"], "entry_point": row["entry_point"]}
    key = row["task_id"].rsplit("/", 1)[-1]
    return Question(row["prompt"], row["canonical_solution"], "code", "python", key, extra)


def mbpp(row: Row) -> Question:
    """`test_list` holds assert statements, which the prompt shows: they name the function."""
    tests = "\n".join(row["test_list"])
    prompt = f"{row['text']}\nYour code should pass these tests:\n{tests}"
    extra = {"test": f"{row['test_setup_code']}\n{tests}"}
    return Question(prompt, row["code"], "code", "python", str(row["task_id"]), extra)


def squad(row: Row) -> Question:
    """A paragraph and a question; every text of `answers` counts."""
    answers = list(dict.fromkeys(row["answers"]["text"]))
    return _reading(row["context"], row["question"], answers, row["title"], row["id"])


def hotpot_qa(row: Row) -> Question:
    """Ten paragraphs of `context`, each a `title` and its `sentences`."""
    context = row["context"]
    paragraphs = [
        f"{title}\n{''.join(sentences).strip()}"
        for title, sentences in zip(context["title"], context["sentences"], strict=True)
    ]
    text = "\n\n".join(paragraphs)
    return _reading(text, row["question"], [row["answer"]], row["type"], row["id"])


def long_bench(row: Row) -> Question:
    """`input` is the question about a very long `context`."""
    return _reading(row["context"], row["input"], row["answers"], row["dataset"], row["_id"])


def trivia_qa(row: Row) -> Question | None:
    """Aliases that the question itself contains prove nothing; without another it is left out."""
    asked = f" {normalise_words(row['question'])} "
    names = dict.fromkeys([row["answer"]["value"], *row["answer"]["aliases"]])
    answers = [n for n in names if (w := normalise_words(n)) and f" {w} " not in asked]
    if not answers:
        return None
    extra = {"answers": answers}
    return Question(row["question"], answers[0], "contains", key=row["question_id"], extra=extra)


def alpaca_eval(row: Row) -> Question:
    """No reference: `output` is another model's answer."""
    return Question(row["instruction"], "", "judge", row["dataset"])


def mt_bench(row: Row) -> Question:
    """The first of its turns; some have a `reference`."""
    reference = next(iter(row["reference"] or ()), None)
    return Question(
        row["prompt"][0], reference or "", "judge", row["category"], str(row["prompt_id"])
    )


def _choice(
    question: str, choices: Sequence[str], right: int, category: str = "", key: str | None = None
) -> Question:
    options = "\n".join(f"{a}. {c}" for a, c in zip(_LETTERS, choices, strict=False))
    letter = _LETTERS[right]
    return Question(f"{question.strip()}\n{options}", letter, "choice", category, key)


def _reading(
    passage: str, question: str, answers: Sequence[str], category: str, key: str
) -> Question:
    prompt = f"{passage.strip()}\n\nQuestion: {question.strip()}"
    return Question(prompt, answers[0], "f1", category, key, {"answers": list(answers)})


_NUMBER = re.compile(r"-?(\d{1,3}(,\d{3})+|\d+)?(\.\d+)?(?<=\d)|-?\d+/\d+")
_FRACTION = re.compile(r"(-?)\\[dt]?frac\{?(\d+?)\}?\{?(\d+)\}?")
_UNIT_AFTER = re.compile(r"(\s|\\ |\\?%|\^\{?\\circ\}?|\\(text|mbox)\{[^{}]*\}(\^\d)?)+$")


def _mathematics(row: Row, answer: str, category: str, key: str | None) -> Question:
    plain = re.sub(r"\\!|\\?\$", "", answer).strip()
    plain = _UNIT_AFTER.sub("", plain)
    if fraction := _FRACTION.fullmatch(plain):
        plain = "{}{}/{}".format(*fraction.groups())
    number = plain if _NUMBER.fullmatch(plain) else None
    return Question(
        row["problem"], number or answer, "number" if number else "judge", category, key
    )


def _last_boxed(solution: str) -> str:
    r"""What the last \boxed{...} or \fbox{...} of a solution holds, braces inside it and all."""
    starts = [match.end() for match in re.finditer(r"\\f?boxed ?(?=\{)|\\fbox(?=\{)", solution)]
    if not starts:
        bare = re.findall(r"\\boxed (\S+?)\$", solution)  # \boxed 2
        if not bare:
            raise ValueError("the solution boxes no answer")
        return str(bare[-1])
    depth = 0
    for place in range(starts[-1], len(solution)):
        depth += {"{": 1, "}": -1}.get(solution[place], 0)
        if depth == 0:
            return solution[starts[-1] + 1 : place]
    raise ValueError("the solution's last box is not closed")
