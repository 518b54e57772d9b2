"""A scripted engine for tests and dry runs: no model, the answers that it is told."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from adaptive_sd.election import end_early
from adaptive_sd.engines.alignment import DraftTokens, common_prefix
from adaptive_sd.engines.base import EngineInfo
from adaptive_sd.engines.sampling import check_sampling, check_votes
from adaptive_sd.engines.text import TextStream, token_ends
from adaptive_sd.errors import ContextOverflowError
from adaptive_sd.types import (
    Acceptance,
    Draft,
    FinishReason,
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

_CONTEXT = 4096


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
        return EngineInfo("fake", "1", self._name, model_hash, 1, _CONTEXT, 4)

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
        check_sampling(sampling)
        num_read = len(self.prompt_tokens(messages))
        self.calls.append((tuple(messages), sampling, draft))
        asked = messages[-1].content
        logprob = self._logprob(asked) if callable(self._logprob) else self._logprob
        said = self._script(asked).split(" ")
        words = said[: sampling.max_tokens]
        drafted = draft.text.split(" ") if draft and draft.text else []
        verified = _verify(drafted, words)
        stream = TextStream(sampling.stop)
        shown: list[str] = []
        reason: FinishReason = "stop" if words == said else "length"
        for word in words:
            piece = word if not shown else f" {word}"
            shown.append(piece)
            new_text = stream.push(piece.encode())
            if stream.stopped:
                reason = "stop_string"
            elif len(shown) == len(words):
                new_text += stream.finish()
            work = Work(num_read, _passes(verified, len(shown)))
            seen = Progress(new_text, len(shown), [logprob] * len(shown), work)
            if observer is not None and not observer(seen) and not stream.stopped:
                reason = "cancelled"
                break
            if stream.stopped:
                break
        count = len(shown)
        return Draft(
            text=stream.text,
            token_ids=tuple(range(count)),
            token_logprobs=(logprob,) * count,
            token_entropies=(0.5,) * count,
            token_margins=(1.0,) * count,
            finish_reason=reason,
            hidden=np.zeros(4, dtype=np.float16),
            tokens_in=num_read,
            prefill_s=0.001,
            decode_s=0.01 * count,
            verified=_verify(drafted, words[:count]),
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
        check_votes(len(seeds))
        *before, last = messages
        votes = [
            self.generate(
                [*before, replace(last, content=f"{last.content} vote {seed}")],
                replace(sampling, seed=seed),
                observer=observer,
            )
            for seed in seeds
        ]
        num_read = len(self.prompt_tokens(messages))
        votes = [replace(vote, tokens_in=num_read) for vote in votes]
        return end_early(votes, is_decided or (lambda *_: False))

    def prompt_tokens(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """The i-th word of all messages is token i."""
        count = sum(len(m.content.split()) for m in messages)
        if count >= _CONTEXT:
            raise ContextOverflowError(
                f"the prompt has {count} tokens, {self._name} has a context of {_CONTEXT}."
            )
        return tuple(range(count))

    def draft_tokens(self, draft: Offer) -> DraftTokens:
        """The i-th word is token i, as in every answer; -1 ends the turn."""
        words = range(len(draft.text.split(" ")))
        tokens = (*words, -1) if draft.ended else (*words,)
        return DraftTokens(tokens, (0.5,) * len(tokens))

    def token_ends(self, token_ids: Sequence[int]) -> tuple[int, ...]:
        """None: an id tells a word's place, not the word."""
        return ()

    def measure_rates(self) -> Rates:
        return self._rates

    def close(self) -> None:
        self.closed = True


def _passes(verified: Verified, num_shown: int) -> dict[int, int]:
    """By rows: the draft is verified first, in one."""
    num_decoded = max(0, num_shown - verified.num_chosen)
    return {1: num_decoded} | dict.fromkeys(verified.span_rows, 1)


def _verify(drafted: Sequence[str], words: Sequence[str]) -> Verified:
    if not drafted:
        return Verified()
    num_accepted = common_prefix(drafted, words)
    num_chosen = min(num_accepted + 1, len(words))
    return Verified(len(drafted), num_accepted, num_chosen, (len(drafted) + 1,))
