"""Tokenizers of the model hub: texts that go on, templates by name, and several threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.engines.chat import ChatFormat
from adaptive_sd.engines.vocabulary import Vocabulary
from adaptive_sd.errors import EngineError
from adaptive_sd.types import Message

pytest.importorskip("torch", reason='torch is not here: pip install ".[transformers]"')
transformers = pytest.importorskip("transformers", reason='pip install ".[transformers]"')

from tests.engines.tiny_checkpoint import write_spaced_tokenizer, write_tokenizer  # noqa: E402
from tests.engines.tiny_gguf import SPECIAL, TEMPLATE  # noqa: E402

KINDS: dict[str, Callable[[Path], None]] = {
    "bytes": lambda folder: write_tokenizer(folder, TEMPLATE),
    "normalizer": lambda folder: write_spaced_tokenizer(folder, in_normalizer=True),
    "pre-tokenizer": lambda folder: write_spaced_tokenizer(folder, in_normalizer=False),
}


@pytest.fixture(scope="module", params=KINDS)
def known(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("tokenizer")
    KINDS[request.param](folder)
    return transformers.AutoTokenizer.from_pretrained(folder)


texts = st.text(st.characters(exclude_categories=["Cs"])) | st.lists(
    st.sampled_from([*SPECIAL, " ", "\n", "a", "  b", "\u2581"]), max_size=6
).map("".join)


@given(texts)
def test_a_text_that_goes_on_is_spelled_as_it_is(known: Any, text: str) -> None:
    """No space is put before it; "\u2581" is how such tokenizers write one."""
    vocabulary = Vocabulary(known, frozenset())
    spelled = vocabulary.text(vocabulary.tokenize(text, special=False))
    assert spelled.replace("\u2581", " ") == text.replace("\u2581", " ")


def test_a_text_that_begins_is_as_the_tokenizer_has_it(known: Any) -> None:
    vocabulary = Vocabulary(known, frozenset())
    plain = known("hello", add_special_tokens=False)["input_ids"]
    assert vocabulary.tokenize("hello", special=False, bos=True) == [known.bos_token_id, *plain]


def test_a_chat_has_the_tokens_of_its_text_in_one_piece(known: Any) -> None:
    """Contents and what the template has after them are no new beginnings."""
    messages = [Message("user", "hello you"), Message("assistant", "b"), Message("user", "c")]
    template = "<|bos|>[{% for m in messages %} {{ m['content'] }}{{ eos_token }} [{% endfor %}"
    known.chat_template = template.replace("<|bos|>", SPECIAL[0])
    try:
        tokens = ChatFormat(Vocabulary(known, frozenset())).tokens(messages)
        whole = "".join(f" {m.content}{SPECIAL[2]} [" for m in messages)
        text = f"{SPECIAL[0]}[{whole}"
        assert tokens == known(text, add_special_tokens=False)["input_ids"]
    finally:
        known.chat_template = TEMPLATE


def test_of_named_templates_the_default_is_taken_and_no_other(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, TEMPLATE)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.chat_template = {"rag": "{{ 1 }}", "default": TEMPLATE}
    assert Vocabulary(tokenizer, frozenset()).chat_template == TEMPLATE
    tokenizer.chat_template = {"rag": "{{ 1 }}", "tool_use": "{{ 2 }}"}
    with pytest.raises(EngineError, match="its chat templates are rag, tool_use"):
        ChatFormat(Vocabulary(tokenizer, frozenset()))


class Watched:
    """A tokenizer that waits, where it is asked, for another thread to ask too."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._meeting = threading.Barrier(2)
        self.met = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __call__(self, text: str, **options: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            try:
                self._meeting.wait(0.3)
                self.met = True
            except threading.BrokenBarrierError:
                pass
        return self._tokenizer(text, **options)


def test_one_thread_asks_the_tokenizer_at_a_time(known: Any) -> None:
    """What becomes of special tokens is a state that each question sets."""
    watched = Watched(known)
    vocabulary = Vocabulary(watched, frozenset())
    threads = [
        threading.Thread(target=vocabulary.tokenize, args=("a",), kwargs={"special": special})
        for special in (True, False)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not watched.met
