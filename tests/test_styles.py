"""Prompt styles: examples that are right, of their own form, and short enough."""

from __future__ import annotations

import pytest

from adaptive_sd.errors import ConfigError
from adaptive_sd.forms import Form, canonical_answer, detect_form
from adaptive_sd.styles import DEFAULT_STYLES, STYLES, Style, find_style

ALL = [(form, name) for form, styles in STYLES.items() for name in styles]
RIGHT = {
    "Which gas do plants take": "C",
    "Maria sees lightning": "A",
    "If 3x + 5 = 20": "B",
    "A court may refuse": "D",
    "A baker fills": "18",
    "Tom is twice": "20",
    "A jacket costs": "66",
}


def test_every_form_has_styles_and_a_default_among_them() -> None:
    assert set(STYLES) == set(DEFAULT_STYLES) == set(Form)
    for form, name in DEFAULT_STYLES.items():
        assert find_style(form, name) is STYLES[form][name]


def test_an_unknown_style_lists_the_known_ones() -> None:
    for form, styles in STYLES.items():
        with pytest.raises(ConfigError, match=f"'nope' for {form.value} tasks") as caught:
            find_style(form, "nope")
        assert str(caught.value).endswith(f"known: {', '.join(sorted(styles))}.")


@pytest.mark.parametrize(("form", "name"), ALL)
def test_a_style_asks_last_and_alternates_its_turns(form: Form, name: str) -> None:
    style = find_style(form, name)
    messages = style.messages("the prompt")
    assert [m.role for m in messages] == ["user", "assistant"] * len(style.examples) + ["user"]
    assert messages[-1].content.startswith("the prompt")
    assert messages[-1].content.endswith(style.instruction)
    for asked, (question, answer) in zip(messages[::2], style.examples, strict=False):
        assert asked.content == messages[-1].content.replace("the prompt", question)
        assert answer in [m.content for m in messages[1::2]]
    assert style.max_tokens > 0


@pytest.mark.parametrize(("form", "name"), ALL)
def test_examples_are_of_their_form_and_right(form: Form, name: str) -> None:
    for question, answer in find_style(form, name).examples:
        found = canonical_answer(answer, form)
        assert found
        if form in (Form.CHOICE, Form.NUMBER, Form.SHORT):
            assert detect_form(question) is form
        wanted = [right for begin, right in RIGHT.items() if question.startswith(begin)]
        assert [found] == (wanted or [found])
        if form is Form.READING:
            assert found in canonical_answer(question.replace("\n", " "), Form.OPEN)
    letters = {a for _, a in STYLES[Form.CHOICE]["few_shot"].examples}
    assert letters == set("ABCD"), "an example for each letter, or one is favoured"


def test_a_plain_style_changes_nothing() -> None:
    assert [m.content for m in Style().messages("x\n")] == ["x\n"]
