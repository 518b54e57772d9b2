"""What the suite of laws is run on: an engine on a model, with what it can and what it lacks."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import pytest

from adaptive_sd.engines.base import Engine


class Capability(enum.StrEnum):
    """A row of the matrix in docs/engines.md."""

    GENERATION = "greedy answers of at most so many tokens"
    STREAMING = "text while it is written"
    STOP_STRINGS = "stop strings"
    STOP_REASON = "tells a stop string from the end of a turn"
    UTF8 = "characters come whole"
    CANCELLING = "an answer can be cancelled"
    OVERFLOW = "too long a prompt is refused before any work"
    ERRORS = "values out of range are refused"
    THREADS = "several threads at once"
    CLOSING = "closed once and for all"
    LOGPROBS = "log-probabilities of tokens"
    MARGINS = "entropies and margins of tokens"
    HIDDEN = "hidden state of the prompt"
    VERIFICATION = "drafts verified, the answer unchanged"
    SEEDS = "a seed gives the same sampled answer"
    VOTES = "votes, decoded together"
    PREFIXES = "tells how much of a prompt was known"
    TOKENIZER = "prompts as tokens"
    DRAFT_TOKENS = "drafts as tokens"
    RATES = "rates measured"


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """One engine on one model.

    `open` gives a ready engine for the time of a block; the suite has at most two open at once.
    `lacks` are the capabilities that it does not have, each with the reason that the matrix gives:
    then the law is that the engine refuses or does without in the documented way.
    `noise` is the 99th percentile of how much the margin between the two best logits changes with
    the shape of a batch and the state of the cache: measured, and 0 where nothing changes.
    """

    engine: str
    """The column of the matrix, which subjects may share; "" for one that it does not show."""

    model: str
    open: Callable[[], AbstractContextManager[Engine]]
    weights: str = ""
    """Subjects of the same weights answer alike."""

    prompts: tuple[str, ...]
    """Some to which the model says eight tokens or more."""

    lacks: Mapping[Capability, str] = field(default_factory=dict)
    noise: float = 0.0
    max_tokens: int = 32
    num_drawn: int = 16
    """Tokens of a sampled answer of which noise seldom moves any draw to another token."""

    num_ahead: int = 0
    """Tokens by which one of several votes may be ahead, where they do not go in step."""

    num_examples: int = 25
    """Of laws over random drafts."""

    absent: str = ""
    """Why it cannot be run here; "" where it can."""

    wide: str = "naïve café — 漢字 🙂 наконец"
    """Text with characters of several bytes that it may say, if asked with much lenience."""

    is_random: bool = True
    """Whether tokens are drawn by their chances, or are somebody's script."""

    version: str = ""
    """For the matrix, where what the engine says of itself is played."""

    marks: tuple[pytest.MarkDecorator, ...] = ()
    """Of its laws."""

    @property
    def name(self) -> str:
        return f"{self.engine or 'fake'}-{self.model}".replace(" ", "_")

    def can(self, *capabilities: Capability) -> bool:
        return not any(each in self.lacks for each in capabilities)
