"""How laws are stated: whom they bind, and how their engines are asked."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings

from adaptive_sd.engines.base import Engine
from adaptive_sd.types import Draft, Message, Observer, Offer, Progress, Rates, Sampling
from tests.conformance.subject import Capability, Subject
from tests.engines.margin import EAGER, assert_same_up_to_margin

Test = TypeVar("Test", bound=Callable[..., Any])

CHEAP = Rates.linear(0.001, 0.1)
"""Verifying costs a hundredth of decoding: all of a draft is worth it."""


def law(capability: Capability, *others: Capability) -> Callable[[Test], Test]:
    """Binds the subjects that have all of these; shows that they have the first."""
    return pytest.mark.law(capability, *others)


def lacking(capability: Capability) -> Callable[[Test], Test]:
    """Binds those that lack it: how they refuse or do without."""
    return pytest.mark.lacking(capability)


def ask(text: str) -> list[Message]:
    return [Message("user", text)]


def answer(
    engine: Engine,
    subject: Subject,
    text: str,
    *,
    offer: Offer | None = None,
    observer: Observer | None = None,
    **sampling: Any,
) -> Draft:
    """Greedy unless told otherwise; whatever of an offer can be verified is."""
    return engine.generate(
        ask(text),
        Sampling(**{"max_tokens": subject.max_tokens} | sampling),
        draft=offer,
        observer=observer,
        rates=CHEAP,
        acceptance=EAGER,
    )


def assert_same(subject: Subject, a: Draft, b: Draft) -> None:
    """The same answer, up to the margin rule."""
    assert a.tokens_in == b.tokens_in
    if a.text == b.text and a.tokens_out == b.tokens_out:
        assert a.finish_reason == b.finish_reason
    else:
        assert_same_up_to_margin(a, b, subject.noise)


def assert_begins(subject: Subject, short: Draft, long: Draft) -> None:
    """`short` is a beginning of `long`, up to the margin rule."""
    shown = short.text.rstrip("\ufffd")  # a server shows half a character where it is cut
    if not long.text.startswith(shown):
        cut = replace(long, token_ids=long.token_ids[: short.tokens_out])
        assert_same_up_to_margin(short, cut, subject.noise)


def assert_mostly_same(subject: Subject, pairs: list[tuple[str, str]]) -> None:
    """Noise moves a draw across the border of two tokens now and then; without it none is.

    How often depends on the processor's kernels; draws of other seeds agree one time in ten.
    """
    num_same = sum(a == b for a, b in pairs)
    assert num_same >= (0.5 if subject.noise else 1.0) * len(pairs), pairs


def together(work: Callable[[str], Draft], texts: list[str]) -> list[Draft]:
    """Each in a thread of its own, at the same time."""
    with ThreadPoolExecutor(len(texts)) as threads:
        return list(threads.map(work, texts))


class Watcher:
    """Keeps what an observer is told; ends the answer after `most` tokens."""

    def __init__(self, most: int = 1 << 30) -> None:
        self.seen: list[Progress] = []
        self._most = most

    def __call__(self, progress: Progress) -> bool:
        # the list of logprobs grows while it is watched
        self.seen.append(progress._replace(token_logprobs=tuple(progress.token_logprobs)))
        return progress.num_tokens < self._most

    @property
    def pieces(self) -> list[str]:
        return [progress.new_text for progress in self.seen if progress.new_text]


def examples(subject: Subject) -> settings:
    """Not shrunk: what another thread or a cache has done before is no part of an example."""
    return settings(
        max_examples=subject.num_examples,
        deadline=None,
        phases=(Phase.explicit, Phase.reuse, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
