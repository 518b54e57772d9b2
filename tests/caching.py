"""The scripted ladder with engines that remember what they have read, word by word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from adaptive_sd.engines.alignment import common_prefix
from adaptive_sd.engines.fake import FakeEngine
from adaptive_sd.stage import Stage
from adaptive_sd.types import Draft, Message, Sampling
from tests.ladder import SKILL, make_engine


class CachingEngine(FakeEngine):
    """Finds in its cache what any earlier prompt began with, but for the last word."""

    _seen: tuple[list[str], ...] = ()

    def generate(self, messages: Sequence[Message], sampling: Sampling, **rest: Any) -> Draft:
        words = [word for message in messages for word in message.content.split()]
        cached = max((common_prefix(words, other) for other in self._seen), default=0)
        self._seen = (*self._seen, words)
        draft = super().generate(messages, sampling, **rest)
        return replace(draft, num_cached=min(cached, draft.tokens_in - 1))


def make_caching_stages(folder: Path) -> list[Stage]:
    """As they are after a start: nothing is read."""
    return [
        Stage(
            name,
            load=lambda name=name: make_engine(name, CachingEngine),
            rates_path=folder / "rates.json",
        )
        for name in SKILL
    ]
