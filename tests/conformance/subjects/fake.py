"""The scripted engine of tests and dry runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from adaptive_sd.engines.base import Engine
from adaptive_sd.engines.fake import FakeEngine
from tests.conformance.subject import Capability, Subject

SAID = "the naïve cat — 漢字 🙂 — sat on a mat and saw another cat that sat on it too"


def say(prompt: str) -> str:
    """As many words as the prompt has characters, at most all, from some place on."""
    prompt = prompt.partition(" vote ")[0]  # it draws nothing: every vote is the same
    words = SAID.split(" ")
    start = sum(map(ord, prompt)) % len(words)
    return " ".join([*words[start:], *words[:start]][: max(10, len(prompt))])


@contextmanager
def open_fake() -> Iterator[Engine]:
    # as sure as the entropies and margins that it makes up for every token
    engine = FakeEngine("fake", say, logprob=-0.45)
    yield engine
    engine.close()


SUBJECTS = (
    Subject(
        engine="",
        model="script",
        open=open_fake,
        prompts=("hello", "how are you today?", "count to ten, please"),
        is_random=False,
        lacks={
            Capability.PREFIXES: "it keeps no cache",
            Capability.CLOSING: "tests use one again",
        },
    ),
)
