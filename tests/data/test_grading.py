"""Graders over tables of cases: what is not graded is never wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.data.grading import GRADER_NAMES, grade, version_of
from adaptive_sd.data.sandbox import sandbox_works
from adaptive_sd.data.tasks import Task

needs_sandbox = pytest.mark.skipif(not sandbox_works(), reason="no PID namespace can be had here")


def task(grader: str, answer: str, prompt: str = "q", **extra: object) -> Task:
    return Task("1", "own", "", prompt, answer, grader, extra)


def quality(grader: str, answer: str, text: str, **extra: object) -> float | None:
    return grade(task(grader, answer, **extra), text).quality


NUMBERS = [
    ("18", "The answer is 18."),
    ("18", "18 apples"),
    ("18", "It is 18 km/h"),
    ("18", "She has 20 - 2 = 18 left."),
    ("18", "12 + 6 = 20. The answer is 18."),
    ("18", "The answer is: **18**"),
    ("18", "The answer is 18. Check: 3 * 6 = 18, 5 left."),
    ("18", "The answer is 72 - 54 = 18."),
    ("18", "The total is 50 and the answer is 18"),
    ("18", "The answer is 3. No, wait: the answer is 18."),
    ("18", "The answer is 18 (not 19)."),
    ("18", "work\n#### 18"),
    ("18", "The answer is 5\n#### 18"),
    ("18", r"so $\boxed{18}$ of 20"),
    ("18", "Total: $18.00"),
    ("18", "18.0"),
    ("1234567", "1,234,567"),
    ("1,234", "the answer is 1234"),
    ("1234.5", "$1,234.50"),
    ("60", "The answer is $60 per week."),
    ("60", "$ 60"),
    ("60", "\u00a360"),
    ("0.5", "1/2"),
    ("1/2", "0.5"),
    ("0.5", "The answer is 1 / 2."),
    ("1.5", r"\frac{3}{2}"),
    ("-1.5", r"-\dfrac{3}{2}"),
    ("1.5", r"\boxed{\frac{3}{2}}"),
    ("-5", "-5"),
    ("-5", "The answer is -5."),
    ("-5", "\u22125"),
    ("-5", "-$5"),
    ("-5", "$-5"),
    ("-7", r"\boxed{-7}"),
    ("3", "5-3"),
    ("2015", "from 2010-2015"),
    ("25", "25%"),
    ("25%", "25"),
    ("0.05", ".05"),
    ("3.14", "The answer is 3.14."),
    ("1234567", r"\boxed{1{,}234{,}567}"),
    ("10080", r"It is 10\,080."),
    ("10080", r"$10,\!080$"),
    ("0.5", r"\boxed{\frac12}"),
    ("-0.5", r"-\dfrac12"),
    ("1.5", r"\boxed{1\frac{1}{2}}"),
    ("-1.5", r"-1 \tfrac{1}{2}"),
    ("2.5", "2 1/2"),
    ("2.5", "The answer is 2 1/2 cups."),
    ("-2.5", "-2 1/2"),
    ("2 1/2", "2.5"),
    ("2 1/2", "5/2"),
    ("12.25", "$12 1/4"),
    ("2.5", "so $2 1/2$"),
    ("0.5", "7 times: $1/2$"),
    ("0.5", "of 10 choices 1/2"),
    ("3.5", "10 7/2"),
    ("1500", "1.5e3"),
    ("1.5e3", "1,500"),
    ("1500", "The answer is 1.5E+3."),
    ("-0.0015", "-1.5e-3"),
    ("300000000", "3e8 m/s"),
    ("1e20", "100000000000000000000"),
]


@pytest.mark.parametrize(("answer", "text"), NUMBERS)
def test_right_numbers(answer: str, text: str) -> None:
    assert quality("number", answer, text) == 1.0


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        *[
            ("18", text)
            for text in ("", "eighteen", "81", "1.8", "180", "-18", "The answer is 17.")
        ],
        *[("18", text) for text in ("18 + 1 = 19", "18/0", "18,000", "18 or 19", "1" * 5000)],
        ("-18", "18"),
        ("0", "0.0001"),
        ("2", r"1\frac{1}{0}"),
        ("12", r"1{,}2"),
        ("0.333", "1/3"),
        ("2", "2 1/2"),
        ("0.5", "2 1/2"),
        ("3", "1.5e3"),
        ("10", r"\frac10"),
        ("1500", "1.5e3x"),
    ],
)
def test_wrong_numbers(answer: str, text: str) -> None:
    assert quality("number", answer, text) == 0.0


CHOICES = r"""B|b|(B)|[B]|B.|B)|B:|**B**|**B.** helium|B. helium|(B) helium|B\nhelium|"B"|$B$
Answer: B|Answer: (B)|Answer:B|answer: b|**Answer: B**|**Answer:** B|Answer - B|The answer is B.
The answer is (b)|The answer is B because A is wrong|The answer is **B**|Answer: option (B)
The correct option is B|Option B|choice B.|The answer is: \n\nB|Answer: A? No. Answer: B|B helium
The answer is option B|Not A. So it is B|I think it is B.|A is tempting, but the answer is B
\boxed{B}|\boxed{\text{B}}|The answer is $\boxed{B}$|Option A is wrong. Option B is right.
The answer is B, as option A is not one.|Answer: $\boxed{\textbf{(B)}}$"""


@pytest.mark.parametrize("text", [t for line in CHOICES.split("\n") for t in line.split("|")])
def test_right_letters(text: str) -> None:
    assert quality("choice", "B", text.replace("\\n", "\n")) == 1.0


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        *[("B", t) for t in ("", "A", "Because", "Bees", "Answer: Bees", "The answer is bees.")],
        *[("A", t) for t in ("Apple", "Answer: Apple", "The answer is a bird.", "a bird", "an A-")],
        *[("A", t) for t in ("The answer is a good one", "And so on", "all of them", "Au", "aa")],
        *[("I", t) for t in ("I think so", "Answer: I don't know", "In all", "I am not sure")],
        *[("D", t) for t in ("Do it", "don't", "Dogs", "Answer: Dogs", "The answer is D'Arcy")],
    ],
)
def test_words_that_begin_with_a_letter_are_no_letter(answer: str, text: str) -> None:
    assert quality("choice", answer, text) == 0.0


def test_letters_beyond_j_count_where_the_set_has_them() -> None:
    for letter in "KLMR":
        assert quality("choice", letter, f"({letter})") == 1.0
        assert quality("choice", letter, f"The answer is {letter}.") == 1.0
        assert quality("choice", letter, "J") == 0.0
    assert quality("choice", "b", "B") == 1.0


def test_a_grade_has_the_version_of_its_grader() -> None:
    for name in GRADER_NAMES:
        found = grade(task(name, "B" if name == "choice" else "5"), "5")
        assert found.version in (version_of(name), "")
        assert (found.version == "") <= (found.quality is None)


YES = ["yes", "no"]


@pytest.mark.parametrize(
    ("answer", "text", "labels", "expected"),
    [
        ("yes", "Yes.", YES, 1.0),
        ("yes", "Yes, no doubt.", YES, 1.0),
        ("no", "Yes, no doubt.", YES, 0.0),
        ("no", "No", YES, 1.0),
        ("no", "It is not known", YES, 0.0),
        ("yes", "yesterday", YES, 0.0),
        ("valid", "The argument is valid.", ["valid", "invalid"], 1.0),
        ("valid", "The argument is invalid.", ["valid", "invalid"], 0.0),
        ("not plausible", "not plausible", ["plausible", "not plausible"], 1.0),
        ("New York", "new york!", ["York", "New York"], 1.0),
        ("True", "true", None, 1.0),
        ("True", "it is true", None, 0.0),
        ("the  Cat", "A cat.", None, 1.0),
        ("yes", "", YES, 0.0),
        ("a", "", ["a", "b"], 0.0),
        ("a", "A", ["a", "b"], 1.0),
        ("b", "a", ["a", "b"], 0.0),
        ("?", "", None, 0.0),
        ("", "", None, 1.0),
    ],
)
def test_exact(answer: str, text: str, labels: list[str] | None, expected: float) -> None:
    extra = {} if labels is None else {"labels": labels}
    assert quality("exact", answer, text, **extra) == expected


@pytest.mark.parametrize(
    ("aliases", "text", "expected"),
    [
        (["Paris"], "It is Paris, of course.", 1.0),
        (["Paris"], "PARIS", 1.0),
        (["Paris"], "Parisian", 0.0),
        (["art"], "a party", 0.0),
        (["1871"], "in 18711", 0.0),
        (["$5"], "It costs 5.", 1.0),
        (["NYC", "New York"], "new-york", 1.0),
        (["The Beatles"], "Beatles", 1.0),
        (["Beatles"], "the Beatles were", 1.0),
        (["caf\u00e9"], "cafe\u0301", 1.0),
        (["", "Paris"], "London", 0.0),
        (["Paris"], "", 0.0),
    ],
)
def test_contains_finds_an_alias_on_word_borders(
    aliases: list[str], text: str, expected: float
) -> None:
    assert quality("contains", aliases[-1], text, answers=aliases) == expected


def test_contains_without_a_word_to_look_for_is_not_graded() -> None:
    for answer in ("", "?", "the"):
        assert quality("contains", answer, "anything") is None
        assert quality("contains", answer, "") is None


@pytest.mark.parametrize(
    ("answers", "text", "expected"),
    [
        (["Ada Finch"], "Ada Finch", 1.0),
        (["Ada Finch"], "the engineer Ada Finch", 0.8),
        (["Ada Finch"], "Finch", 2 / 3),
        (["Ada Finch", "Finch"], "Finch", 1.0),
        (["to be to be"], "to to to", 4 / 7),
        (["Ada"], "nobody", 0.0),
        (["Ada"], "", 0.0),
        (["a"], "", 0.0),
        (["The"], "", 0.0),
        (["?"], "", 0.0),
        (["a"], "A", 1.0),
        (["", "Ada"], "", 0.0),
        ([""], "", 1.0),
        ([], "", 1.0),
        ([""], "Ada", 0.0),
    ],
)
def test_f1_is_the_best_over_the_aliases(answers: list[str], text: str, expected: float) -> None:
    found = quality("f1", answers[0] if answers else "", text, answers=answers)
    assert found == pytest.approx(expected, abs=1e-12)


PROMPT = (
    "import math\n\ndef helper(x):\n    return x + 1\n\n\ndef add(x: int) -> int:\n"
    '    """Add one, rounded down."""\n'
)
CHECK = "def check(candidate):\n    assert candidate(1) == 2\n    assert candidate(4) == 5\n"


@needs_sandbox
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def add(x):\n    return x + 1\n", 1.0),
        ("Here it is:\n```python\ndef add(x):\n    return x + 1\n```\nDone.", 1.0),
        ("```\ndef add(x):\n    return x + 1", 1.0),
        ("    return x + 1\n", 1.0),
        ("```python\n    return x + 1\n```", 1.0),
        ("def add(x):\n    return math.floor(helper(x))\n", 1.0),
        ("def add_all(x):\n    return x + 1\n\ndef add(x):\n    return add_all(x)\n", 1.0),
        ("    def add_all(y):\n        return y + 1\n    return add_all(x)\n", 1.0),
        ("def add(x):\n    return x\n", 0.0),
        ("    return x\n", 0.0),
        ("def subtract(x):\n    return x + 1\n", 0.0),
        ("I cannot do that.", 0.0),
        ("", 0.0),
        ("\x00", 0.0),
        ("\ud800", 0.0),
    ],
)
def test_code_passes_its_test_or_does_not(text: str, expected: float) -> None:
    given_task = task("code", "", PROMPT, test=CHECK, entry_point="add")
    assert grade(given_task, text).quality == expected


@needs_sandbox
def test_code_without_an_entry_point_runs_its_asserts() -> None:
    given_task = task("code", "", "Write a function.", test="assert f(1) == 2", entry_point=None)
    assert grade(given_task, "def f(x):\n    return x + 1").quality == 1.0
    assert grade(given_task, "def f(x):\n    return x").quality == 0.0


@given(st.text(), st.text())
def test_a_set_without_a_grader_is_not_graded(answer: str, text: str) -> None:
    assert quality("none", answer, text) is None


@pytest.mark.parametrize(
    ("grader", "answer", "why"),
    [
        ("judge", "x", "only a judge"),
        ("", "x", "'grader' is ''"),
        ("number", "many", "must be a number"),
        ("choice", "", "must be a letter"),
        ("choice", "AB", "must be a letter"),
        ("number", r"\frac10", "must be a number"),
    ],
)
def test_what_cannot_be_graded_says_why_and_is_tried_again(
    grader: str, answer: str, why: str
) -> None:
    found = grade(task(grader, answer), "B")
    assert found.quality is None and why in found.reason and found.version == ""


MARKS = "-+*/=.,#$%{}\\()[]:0123456789ABCabc \n"
WILD = st.text() | st.text(MARKS, max_size=60) | st.text("\ud800\x00\u2028a1")


@given(
    st.sampled_from([name for name in GRADER_NAMES if name != "code"]),
    st.sampled_from(["B", "5", "Paris"]) | WILD,
    WILD,
    st.none() | st.integers() | st.lists(WILD | st.integers() | st.none(), max_size=3),
)
def test_any_task_and_text_have_a_grade_from_0_to_1_or_none(
    grader: str, answer: str, text: str, aliases: object
) -> None:
    found = grade(task(grader, answer, answers=aliases, labels=aliases), text)
    assert found.quality is None or 0 <= found.quality <= 1
    if grader in ("choice", "number", "exact", "f1"):
        assert found.quality is not None or "must be a" in found.reason
