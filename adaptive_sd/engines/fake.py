"""A scripted engine for tests and dry runs: no model, the answers that it is told."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from adaptive_sd.election import end_early
from adaptive_sd.engines.alignment import DraftTokens, common_prefix
from adaptive_sd.engines.base import EngineInfo
from adaptive_sd.engines.text import token_ends
from adaptive_sd.types import (
    Acceptance,
    Draft,
    IsDecided,
    Message,
    Observer,
    Offer,
    Progress,
    Rates,
    Sampling,
    Verified,
    Work,
)


class FakeEngine:
    """Answers with `script(last message)`; each word is a token.

    `logprob` is that of every token, or is asked for with the last message.
    """

    def __init__(
        self,
        name: str,
        script: Callable[[str], str],
        *,
        logprob: float | Callable[[str], float] = -0.1,
        rates: Rates | None = None,
    ) -> None:
        self._name = name
        self._script = script
        self._logprob = logprob
        self._rates = rates or Rates(0.001, 0.01)
        self.calls: list[tuple[tuple[Message, ...], Sampling, Offer | None]] = []
        self.closed = False

    @property
    def info(self) -> EngineInfo:
        model_hash = hashlib.sha256(self._name.encode()).hexdigest()
        return EngineInfo("fake", "1", self._name, model_hash, 1, 4096, 4)

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
        """See Engine.generate; a draft is accepted up to its first word that differs."""
        self.calls.append((tuple(messages), sampling, draft))
        asked = messages[-1].content
        logprob = self._logprob(asked) if callable(self._logprob) else self._logprob
        words = self._script(asked).split(" ")[: sampling.max_tokens]
        num_read = sum(len(m.content.split()) for m in messages)
        verified = _verify(draft.text.split(" "), words) if draft else Verified()
        shown: list[str] = []
        cancelled = False
        for word in words:
            piece = word if not shown else f" {word}"
            shown.append(piece)
            work = Work(num_read, _passes(verified, len(shown)))
            seen = Progress(piece, len(shown), [logprob] * len(shown), work)
            if observer is not None and not observer(seen):
                cancelled = True
                break
        count = len(shown)
        return Draft(
            text="".join(shown),
            token_ids=tuple(range(count)),
            token_logprobs=(logprob,) * count,
            token_entropies=(0.5,) * count,
            token_margins=(1.0,) * count,
            finish_reason="cancelled" if cancelled else "stop",
            hidden=np.zeros(4, dtype=np.float16),
            tokens_in=num_read,
            prefill_s=0.001,
            decode_s=0.01 * count,
            verified=_verify(draft.text.split(" "), words[:count]) if draft else Verified(),
            token_ends=token_ends(piece.encode() for piece in shown),
        )

    def sample(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        seeds: Sequence[int],
        *,
        is_decided: IsDecided | None = None,
        observer: Observer | None = None,
    ) -> list[Draft]:
        """See Engine.sample; the script is asked with " vote SEED" after the message."""
        *before, last = messages
        votes = [
            self.generate(
                [*before, replace(last, content=f"{last.content} vote {seed}")],
                replace(sampling, seed=seed),
                observer=observer,
            )
            for seed in seeds
        ]
        return end_early(votes, is_decided or (lambda *_: False))

    def prompt_tokens(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """The i-th word of all messages is token i."""
        return tuple(range(sum(len(m.content.split()) for m in messages)))

    def draft_tokens(self, draft: Offer) -> DraftTokens:
        """The i-th word is token i, as in every answer; -1 ends the turn."""
        words = range(len(draft.text.split(" ")))
        tokens = (*words, -1) if draft.ended else (*words,)
        return DraftTokens(tokens, (0.5,) * len(tokens))

    def token_ends(self, token_ids: Sequence[int]) -> tuple[int, ...]:
        return tuple(range(len(token_ids)))

    def measure_rates(self) -> Rates:
        return self._rates

    def close(self) -> None:
        self.closed = True


def _passes(verified: Verified, num_shown: int) -> dict[int, int]:
    """By rows: the draft is verified first, in one."""
    num_decoded = max(0, num_shown - verified.num_chosen)
    return {1: num_decoded} | dict.fromkeys(verified.span_rows, 1)


def _verify(drafted: Sequence[str], words: Sequence[str]) -> Verified:
    num_accepted = common_prefix(drafted, words)
    num_chosen = min(num_accepted + 1, len(words))
    return Verified(len(drafted), num_accepted, num_chosen, (len(drafted) + 1,))
