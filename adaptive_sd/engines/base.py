"""The seam between a stage and whatever runs its model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from adaptive_sd.engines.alignment import DraftTokens
from adaptive_sd.types import (
    Acceptance,
    Draft,
    IsDecided,
    Message,
    Observer,
    Offer,
    Rates,
    Sampling,
)


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
    """Runs one model. Safe to call from several threads."""

    @property
    def info(self) -> EngineInfo: ...

    def generate(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        draft: Offer | None = None,
        observer: Observer | None = None,
        rates: Rates | None = None,
        acceptance: Acceptance | None = None,
    ) -> Draft:
        """Answer `messages`, verifying what of `draft` is expected to pay.

        That is told from `rates` and from how readily such drafts are accepted; the answer is the
        same as without (unless the sampling is lenient).
        Raises ContextOverflowError before any work when the prompt does not fit, QueueFullError
        when too many requests wait, and CancelledError when `observer` ends it before its turn.
        """
        ...

    def sample(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        seeds: Sequence[int],
        *,
        is_decided: IsDecided | None = None,
        observer: Observer | None = None,
    ) -> list[Draft]:
        """An answer to the same messages for each seed, decoded together.

        As soon as `is_decided` by those that have ended, asked after each token, the others are cut
        short ("cancelled").
        """
        ...

    def prompt_tokens(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """The tokens that `generate` reads. Raises ContextOverflowError when they do not fit."""
        ...

    def draft_tokens(self, draft: Offer) -> DraftTokens:
        """The draft as this engine verifies it; no tokens where its model cannot."""
        ...

    def token_ends(self, token_ids: Sequence[int]) -> tuple[int, ...]:
        """The bytes of an answer of these tokens up to each one's end."""
        ...

    def measure_rates(self) -> Rates:
        """Seconds a token of reading, decoding and verifying, on the machine as it is now.

        This engine's own requests wait meanwhile; whatever else runs on the machine does not.
        """
        ...

    def close(self) -> None: ...
