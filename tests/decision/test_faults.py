"""What is plain in an answer's text is told of the forms that it means something for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.decision.faults import FAULT_NAMES, NO_FAULTS, find_faults
from adaptive_sd.forms import Form, canonical_answer, normalise_words

PASSAGE = "The Norman dynasty ruled England, and Sicily. In 1066 they came.\n\nWho came?"


def faults(text: str, form: Form, prompt: str = PASSAGE) -> dict[str, float]:
    words = normalise_words(prompt)
    found = find_faults(canonical_answer(text, form), text, form, words)
    return {n: v for n, v in zip(FAULT_NAMES, found, strict=True) if v}


@pytest.mark.parametrize(
    ("text", "form", "wanted"),
    [
        ("3 * 4 = 12\nThe answer is 12.", Form.NUMBER, {}),
        ("3 * 4 = 13\nThe answer is 13.", Form.NUMBER, {"wrong_sum": 1}),
        ("The answer is 2.5.", Form.NUMBER, {"not_whole": 1}),
        ("The answer is -4.", Form.NUMBER, {"negative": 1}),
        ("The answer is -1/2.", Form.NUMBER, {"not_whole": 1, "negative": 1}),
        ("I do not know.", Form.NUMBER, {}),
        ("Since 3 + 4 = 8 it is C.", Form.CHOICE, {"wrong_sum": 1}),
        ("x = 3 + 4 = 8", Form.CODE, {}),
        ("the Norman dynasty", Form.READING, {}),
        ("England and Sicily", Form.READING, {}),
        ("the Danes", Form.READING, {"not_in_prompt": 1, "share_not_in_prompt": 1}),
        ("Sicily and Norway", Form.READING, {"not_in_prompt": 1, "share_not_in_prompt": 1 / 3}),
        ("orman", Form.READING, {"not_in_prompt": 1, "share_not_in_prompt": 1}),
        ("\u6771\u4eac", Form.READING, {"not_in_prompt": 1, "share_not_in_prompt": 1}),
        ("No.", Form.READING, {"yes_or_no": 1}),
        ("True", Form.SHORT, {"yes_or_no": 1}),
        ("the Danes", Form.SHORT, {}),
        ("", Form.READING, {}),
    ],
)
def test_faults_of_an_answer(text: str, form: Form, wanted: dict[str, float]) -> None:
    assert faults(text, form) == pytest.approx(wanted)


def test_scripts_without_spaces_have_no_words_to_begin_and_end_at() -> None:
    prompt = "\u9996\u90fd\u306f\u6771\u4eac\u3067\u3059\u3002\n\n\u9996\u90fd\u306f\uff1f"
    assert faults("\u6771\u4eac", Form.READING, prompt) == {}


@given(st.text(), st.sampled_from(Form), st.text())
def test_faults_are_between_0_and_1(text: str, form: Form, prompt: str) -> None:
    assert all(0 < value <= 1 for value in faults(text, form, prompt).values())


@given(st.sampled_from(Form))
def test_no_answer_has_none(form: Form) -> None:
    assert find_faults("", "", form, "") == NO_FAULTS
