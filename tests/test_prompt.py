"""Prompts: text or a conversation, and one line for anything else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.errors import ConfigError
from adaptive_sd.prompt import prompt_text, to_messages
from adaptive_sd.types import Message

unicode_text = st.text(st.characters(exclude_categories=["Cs"]))
some_text = unicode_text.filter(str.strip)
roles = st.sampled_from(["system", "user", "assistant"])


@given(some_text)
def test_a_bare_prompt_is_one_turn_of_the_user(text: str) -> None:
    assert to_messages(text) == [Message("user", text)]
    assert prompt_text(text) == text


@given(st.lists(st.builds(Message, roles, unicode_text)), some_text)
def test_a_conversation_passes_unchanged_as_messages_or_mappings(
    before: list[Message], last: str
) -> None:
    conversation = [*before, Message("user", last)]
    assert to_messages(conversation) == conversation
    assert to_messages(tuple(conversation)) == conversation
    as_mappings = [{"role": m.role, "content": m.content} for m in conversation]
    assert to_messages(as_mappings) == conversation
    assert prompt_text([*conversation, Message("assistant", "so")]) == last


@pytest.mark.parametrize(
    ("prompt", "what"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ([], "no text of the user"),
        ([{"role": "system", "content": "x"}], "no text of the user"),
        ([{"role": "user", "content": "  "}], "no text of the user"),
        ([{"role": "tool", "content": "x"}], "role is 'tool'"),
        ([Message("tool", "x")], "role is 'tool'"),  # type: ignore[arg-type]
        ([{"content": "x"}], "role is None"),
        ([{"role": "user"}], "content of a user message is None"),
        ([Message("user", 5)], "content of a user message is 5"),  # type: ignore[arg-type]
        ([{"role": "user", "content": [{"type": "text"}]}], "it must be text"),
        (["hello"], "'hello' is none"),
        ([None], "None is none"),
        (None, "not NoneType"),
        (5, "not int"),
        (b"hello", "not bytes"),
        ({"role": "user", "content": "x"}, "not dict"),
        ("bad \udcff byte", "not valid Unicode"),
        ([Message("system", "\ud800"), Message("user", "x")], "not valid Unicode"),
    ],
)
def test_anything_else_is_refused_in_one_line(prompt: object, what: str) -> None:
    for read in (to_messages, prompt_text):
        with pytest.raises(ConfigError, match=what) as caught:
            read(prompt)  # type: ignore[arg-type]
        assert len(str(caught.value).splitlines()) == 1
