"""The seam between a stage and whatever runs its model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from adaptive_sd.types import Acceptance, Draft, Message, Observer, Rates, Sampling


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine runs: recorded with every draft so that results can be traced back."""

    engine: str
    engine_version: str
    model: str
    model_hash: str
    num_parameters: int
    context: int
    hidden_width: int


class Engine(Protocol):
    """Runs one model. Safe to call from several threads; calls run one after the other."""

    @property
    def info(self) -> EngineInfo: ...

    def generate(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        draft: str | None = None,
        observer: Observer | None = None,
        rates: Rates | None = None,
        acceptance: Acceptance | None = None,
    ) -> Draft:
        """Answer `messages`; with `draft`, verify that text first and go on from where it differs.

        With `rates`, only the spans are verified that are expected to pay, given how likely the
        draft is accepted; without them every span is tried.
        Raises ContextOverflowError before any work when the prompt does not fit.
        """
        ...

    def sample(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        count: int,
        *,
        observer: Observer | None = None,
    ) -> list[Draft]:
        """`count` answers to the same messages, with seeds from `sampling.seed` on."""
        ...

    def tokenize(self, text: str) -> list[int]:
        """Tokens of plain text, and the token that ends a turn, as a draft is verified."""
        ...

    def measure_rates(self) -> Rates:
        """Seconds a token of reading, decoding and verifying, on the machine as it is now."""
        ...

    def close(self) -> None: ...
