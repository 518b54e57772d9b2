"""Forms of tasks, told from the text alone, and answers in a comparable shape."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adaptive_sd.data.tasks import load_tasks
from adaptive_sd.forms import (
    Form,
    canonical_answer,
    detect_form,
    find_code,
    find_letter,
    find_number,
    normalise_words,
)

SHARED = Path(__file__).parents[2] / "shared" / "data" / "tasks"
LEAST_SHARES = {
    "mmlu.val": (Form.CHOICE, 0.95),
    "mmlu.test": (Form.CHOICE, 0.95),
    "mmlu_pro.test": (Form.CHOICE, 0.95),
    "arc_easy.test": (Form.CHOICE, 0.95),
    "piqa.val": (Form.CHOICE, 0.95),
    "truthfulqa.mc1": (Form.CHOICE, 0.95),
    "gsm8k.train": (Form.NUMBER, 0.97),
    "gsm8k.test": (Form.NUMBER, 0.97),
    "svamp.test": (Form.NUMBER, 0.97),
    "humaneval.test": (Form.CODE, 1.0),
    "mbpp.train": (Form.CODE, 1.0),
    "mbpp.test": (Form.CODE, 1.0),
    "squad.dev": (Form.READING, 0.95),
    "boolq.val": (Form.SHORT, 0.95),
    "simpleqa.test": (Form.SHORT, 0.90),
}
wild = st.text() | st.text("-+*/=.,#$%{}\\()[]`: \n\t0123456789ABCabc", max_size=80)


@pytest.mark.skipif(not SHARED.exists(), reason="shared/data/tasks is not here")
@pytest.mark.parametrize("name", LEAST_SHARES)
def test_the_form_of_public_prompts(name: str) -> None:
    form, least = LEAST_SHARES[name]
    found = [detect_form(task.prompt) for task in load_tasks(str(SHARED / f"{name}.jsonl"))]
    assert found.count(form) / len(found) >= least


@pytest.mark.parametrize(
    "prompt",
    [
        "Lucy has $65. She made a $15 deposit and then a $4 withdrawal. What is Lucy's balance?",
        "If Ella spent $100 last year and got a 10% raise, what's her new salary?",
        "She fell back 5 places and then moved ahead 2. What place did she finish in?",
        "A crate holds 24 mangoes at $2 and 10 oranges at $3. " * 3 + "What is the crate's price?",
    ],
)
def test_a_story_in_numbers_that_asks_for_another_one_wants_a_number(prompt: str) -> None:
    assert detect_form(prompt) is Form.NUMBER


@pytest.mark.parametrize(
    ("prompt", "form"),
    [
        ("I have Python 3.11 and numpy 1.26. Importing it fails. What is wrong?", Form.SHORT),
        ("My son is 5 and my daughter is 8. What are good books for them?", Form.SHORT),
        ("Boeing 737 and 747 are jets. What is the bigger one?", Form.SHORT),
        ("Apollo 11 landed in 1969. Apollo 13 did not. What was the reason?", Form.SHORT),
        ("What was the name of the high school that the 5th president left in 1979?", Form.SHORT),
        (
            "I have been running a bakery for 6 years with 3 employees, and lately we have had "
            "complaints about the bread. We changed the flour last month and the oven was serviced "
            "too. What is the most likely cause and what would you do about it?",
            Form.OPEN,
        ),
        (
            "The sky over Kelt was green for three days after the eruption of Mount Aru in 1712. "
            "Fishermen stayed ashore, and the market closed. Who stayed ashore?",
            Form.READING,
        ),
        ("The storm had winds of 12 and 15. " * 40 + "What was its speed?", Form.OPEN),
    ],
)
def test_numbers_in_a_prompt_do_not_make_it_ask_for_one(prompt: str, form: Form) -> None:
    assert detect_form(prompt) is form


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("mmlu-subset", Form.CHOICE),
        ("gsm8k-subset", Form.NUMBER),
        ("humaneval-subset", Form.CODE),
        ("squad-subset", Form.READING),
    ],
)
def test_the_form_of_bundled_prompts(name: str, form: Form) -> None:
    found = [detect_form(task.prompt) for task in load_tasks(name)]
    assert found.count(form) / len(found) >= 0.9


@pytest.mark.parametrize(
    ("prompt", "form"),
    [
        ("Which?\nA. one\nB. two", Form.CHOICE),
        ("Which?\n(A) one\n(B) two\n(C) three", Form.CHOICE),
        ("  A) one\n  B) two", Form.CHOICE),
        ("Which is a gas? A. iron B. neon C. gold D. salt", Form.CHOICE),
        ("Which is a gas? (A) iron (B) neon (C) gold", Form.CHOICE),
        ("Which are true?\nI. one\nII. two\nIII. three\nA. I\nB. II and III", Form.CHOICE),
        ("Who wrote Vitamin A. and B.?", Form.SHORT),
        ("Choose the gas: A. iron B. neon C. gold", Form.CHOICE),
        ("Find (A) the carrier frequency (B) the swing (C) the deviation.", Form.OPEN),
        ("Write an essay following this outline:\nI. Introduction\nA. Hook\nB. Thesis", Form.OPEN),
        ("Edit this memo:\nAttendees:\nJ. Doe\nA. Smith\nB. Jones", Form.OPEN),
        ("Explain how plants (A) take up water, (B) move it and (C) lose it.", Form.OPEN),
        ("Solve each part. What is: A) 3+4 B) 5*6 C) 7-2", Form.NUMBER),
        ("Write a Python function that maps grades. How: A. 90 B. 80 C. 70", Form.CODE),
        ("A. Einstein was born where?", Form.SHORT),
        ("How many apples are 3 apples and 4 apples?", Form.NUMBER),
        ("Compute 17 * 23.", Form.NUMBER),
        ("Who was president in 1990?", Form.SHORT),
        ("who wrote hamlet", Form.SHORT),
        ("Write a Python function that adds.", Form.CODE),
        ("import numpy as np\nprint(1)", Form.CODE),
        ("From 1990 to 1995, who led the party?", Form.SHORT),
        ("Why is the sky blue?", Form.OPEN),
        ("Write a poem about rain.", Form.OPEN),
        (f"{'The tower was built by Ada. ' * 9}\n\nWho built it?", Form.READING),
        ("", Form.OPEN),
    ],
)
def test_the_form_of_typical_prompts(prompt: str, form: Form) -> None:
    assert detect_form(prompt) is form


@given(wild)
@example("9" * 5000)
@example("1." + "9" * 4299)
@example("\\boxed{" * 50)
@example("1/0")
def test_no_text_is_too_wild(text: str) -> None:
    assert detect_form(text) in Form
    assert find_letter(text) in ("", *"ABCDEFGHIJ")
    assert find_number(text) is None or isinstance(find_number(text), Fraction)
    assert find_code(text) in text
    for form in Form:
        assert isinstance(canonical_answer(text, form), str)


@given(wild, st.sampled_from([Form.CHOICE, Form.NUMBER, Form.READING, Form.SHORT, Form.OPEN]))
@example("I", Form.CHOICE)
@example("-5/3", Form.NUMBER)
@example("\u0130 \ufb01 \u1e9e", Form.OPEN)
def test_a_canonical_answer_is_its_own_canonical_answer(text: str, form: Form) -> None:
    once = canonical_answer(text, form)
    assert canonical_answer(once, form) == once


@given(st.lists(st.text("def x():\n #=", max_size=12)))
def test_canonical_code_is_its_own_canonical_code(lines: list[str]) -> None:
    once = canonical_answer("\n".join(lines), Form.CODE)
    assert canonical_answer(once, Form.CODE) == once
    assert canonical_answer(f"So:\n```python\n{once}\n```\nDone.", Form.CODE) == once


@given(st.fractions(max_denominator=10**6), st.sampled_from(["{}", "The answer is {}.", "= {}"]))
def test_a_stated_number_is_found(number: Fraction, frame: str) -> None:
    assert find_number(frame.format(number)) == number
    assert canonical_answer(frame.format(number), Form.NUMBER) == str(number)


@given(st.integers(-(10**12), 10**12), st.integers(0, 99), st.text("abcxyz .", max_size=20))
def test_equal_numbers_compare_equal(whole: int, cents: int, words: str) -> None:
    sign = "-" if whole < 0 else ""
    written = f"{abs(whole)}.{cents:02}", f"{abs(whole):,}.{cents:02}", f"{abs(whole)}.{cents:02}0"
    forms = [f"{sign}{n}" for n in written] + [f"{sign}${n}" for n in written]
    forms += [f"The answer is {forms[0]} {words}", f"#### {forms[1]}", f"\\boxed{{{forms[0]}}}"]
    assert len({canonical_answer(text, Form.NUMBER) for text in forms}) == 1


@given(
    st.sampled_from("ABCDEFGHIJ"), st.sampled_from(["{}", "({})", "**{}**", "Answer: {}", "{}."])
)
def test_a_named_letter_is_found(letter: str, frame: str) -> None:
    assert find_letter(frame.format(letter)) == letter
    assert find_letter(frame.format(letter), "C") == (letter if letter <= "C" else "")


@given(st.text())
def test_normalised_words_have_no_case_article_or_double_space(text: str) -> None:
    normal = normalise_words(text)
    assert normal == normal.strip() and "  " not in normal
    assert not {"a", "an", "the"} & set(normal.split())
    assert normalise_words(f"The {text}!") == normalise_words(f" {text} ")


HUGE = """
import resource
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))  # seconds of work, however busy the machine
from adaptive_sd.forms import *
n = 30_000
for text in ["\\n" * n + "x", " \\n\\t" * n + "x", "answer is " * n, "\\\\boxed{" * n, "1/" * n,
             "A. \\n" * n, "1 " * n, "1,111" * n, "how " * n + "?", "```" * n, "(" * n, "-" * n,
             "answer" + " " * n, "option is" + "(" * n + "1", "total =" + "1 + " * n,
             "```" + " " * n, "1" + ",111" * n + "1", "\\\\boxed{" + " " * n]:
    detect_form(text), find_letter(text), find_number(text), find_code(text)
"""


def test_the_work_for_huge_texts_is_bounded() -> None:
    subprocess.run([sys.executable, "-c", HUGE], check=True)
