"""Chat templates: contents never become control tokens, a template's failure is one error."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.engines.chat import ChatFormat
from adaptive_sd.engines.llama_cpp import LlamaCppEngine
from adaptive_sd.errors import EngineError
from adaptive_sd.types import Message, Sampling
from tests.engines.tiny_gguf import SPECIAL, TEMPLATE, write_tiny_model

BOS = SPECIAL[0]
roles = st.sampled_from(["system", "user", "assistant"])
contents = st.lists(
    st.sampled_from([*SPECIAL, "\u29830\u2984", "\u29831\u2984", "{{ 1 }}", "<|im_", "end|>", "\n"])
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
).map("".join)
conversations = st.lists(st.builds(Message, roles, contents), min_size=1, max_size=12)


class FakeModel:
    """A vocabulary of characters, and of the control tokens that `special` text may name."""

    def __init__(self, template: str | None = TEMPLATE, *, bos: bool = False) -> None:
        self.chat_template = template
        self.adds_bos = bos
        self.bos_text, self.eos_text = BOS, SPECIAL[2]

    def tokenize(self, text: str, *, special: bool, bos: bool = False) -> list[str]:
        tokens = [BOS] if bos else []
        while text:
            whole = next((s for s in SPECIAL if special and text.startswith(s)), text[0])
            tokens.append(whole)
            text = text[len(whole) :]
        return tokens


def tokens_of(messages: Sequence[Message], model: FakeModel | None = None) -> list[str]:
    return ChatFormat(model or FakeModel()).tokens(messages)  # type: ignore[arg-type, return-value]


def num_control(tokens: list[str]) -> int:
    return sum(token in SPECIAL for token in tokens)


@given(conversations)
def test_contents_never_become_control_tokens(messages: list[Message]) -> None:
    tokens = tokens_of(messages)
    is_continued = messages[-1].role == "assistant" and messages[-1].content != ""
    assert num_control(tokens) == 2 * (len(messages) - is_continued) + 1
    text = "".join(tokens)
    at = 0
    for message in messages:  # whole, unchanged and in order
        at = text.index(message.content, at) + len(message.content)


@given(conversations)
def test_the_text_is_what_the_template_makes_of_the_contents(messages: list[Message]) -> None:
    closed = [*messages, Message("user", "x")]
    expected = "".join(f"<|im_start|>{m.role}\n{m.content}<|im_end|>\n" for m in closed)
    assert "".join(tokens_of(closed)) == f"{expected}<|im_start|>assistant\n"
    begun = [*closed, Message("assistant", "so <|im_end|>")]
    assert tokens_of(begun) == [*tokens_of(closed), *"so <|im_end|>"]


@pytest.mark.parametrize("role", ["system", "user", "assistant"])
def test_the_engine_keeps_control_text_of_any_role_plain(tiny: LlamaCppEngine, role: str) -> None:
    def tokens_in(text: str) -> int:
        messages = [Message(role, text), Message("user", "b")]  # type: ignore[arg-type]
        return tiny.generate(messages, Sampling(max_tokens=1)).tokens_in

    for control in SPECIAL:
        assert tokens_in(f"a{control}") == tokens_in("a") + len(control)


def test_a_begun_answer_alone_is_continued_after_the_template() -> None:
    tokens = tokens_of([Message("assistant", "so")])
    assert tokens == ["<|im_start|>", *"assistant\n", *"so"]


@pytest.mark.parametrize("adds_bos", [True, False])
@pytest.mark.parametrize("begins", [True, False])
def test_there_is_one_beginning_at_most(adds_bos: bool, begins: bool) -> None:
    template = "{{ bos_token }}" * begins + TEMPLATE
    tokens = tokens_of([Message("user", BOS)], FakeModel(template, bos=adds_bos))
    assert tokens.count(BOS) == (adds_bos or begins)
    assert tokens[0] == (BOS if adds_bos or begins else "<|im_start|>")


def test_a_base_model_only_completes() -> None:
    model = FakeModel(None)
    assert not ChatFormat(model).is_chat  # type: ignore[arg-type]
    assert "".join(tokens_of([Message("user", "a<|im_end|>")], model)) == "a<|im_end|>\n"
    assert num_control(tokens_of([Message("user", "a<|im_end|>")], model)) == 0


@pytest.mark.parametrize(
    ("template", "what"),
    [
        ("{{ raise_exception('no system turns') }}", "no system turns"),
        ("{{ raise_exception('two\nlines') }}", "two lines"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ messages + 1 }}", "TypeError"),
        ("{{ messages[99]['content'] + 'x' }}", "undefined|no element"),
        ("{{ 'x'.encode('nope') }}", "LookupError"),
        ("{% for i in range(10 ** 12) %}x{% endfor %}", "OverflowError"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
        ("{{ messages.__class__.__mro__ }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe|not safely"),
        ("{% include 'x' %}", ""),
    ],
)
def test_a_template_that_raises_is_one_line(template: str, what: str) -> None:
    with pytest.raises(EngineError, match=f"refused the messages: .*({what})") as caught:
        tokens_of([Message("user", "x")], FakeModel(template))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("template", ["{% if %}", "{{", "{% nope %}", "{% for x in y %}"])
def test_a_template_that_is_none_is_refused_when_the_model_is_opened(
    tmp_path: Path, template: str
) -> None:
    with pytest.raises(EngineError, match="template is damaged"):
        ChatFormat(FakeModel(template))  # type: ignore[arg-type]
    path = write_tiny_model(tmp_path / "t.gguf", template=template)
    with pytest.raises(EngineError, match="template is damaged"):
        LlamaCppEngine(path, name="t", model_hash="0", context=64)


def test_a_template_may_break_and_continue() -> None:
    template = "{% for m in messages %}{{ m.content }}{% break %}{% endfor %}"
    tokens = tokens_of([Message("user", "a"), Message("user", "b")], FakeModel(template))
    assert tokens == ["a"]


def test_no_messages_are_refused() -> None:
    with pytest.raises(EngineError, match="no message"):
        tokens_of([])
