"""A scripted engine for tests and dry runs: no model, the answers that it is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from adaptive_sd.engines.base import EngineInfo
from adaptive_sd.types import Acceptance, Draft, Message, Observer, Progress, Rates, Sampling


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
        self.calls: list[tuple[tuple[Message, ...], Sampling, str | None]] = []
        self.closed = False

    @property
    def info(self) -> EngineInfo:
        return EngineInfo("fake", "1", self._name, "0" * 64, 1, 4096, 4)

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
        """See Engine.generate; a draft is accepted up to its first word that differs."""
        self.calls.append((tuple(messages), sampling, draft))
        asked = messages[-1].content
        logprob = self._logprob(asked) if callable(self._logprob) else self._logprob
        words = self._script(asked).split(" ")[: sampling.max_tokens]
        shown: list[str] = []
        cancelled = False
        for word in words:
            piece = word if not shown else f" {word}"
            shown.append(piece)
            seen = Progress(piece, len(shown), [logprob] * len(shown))
            if observer is not None and not observer(seen):
                cancelled = True
                break
        num_drafted = len(draft.split(" ")) if draft else 0
        agreeing = zip(words, draft.split(" ") if draft else (), strict=False)
        num_accepted = next((i for i, (a, b) in enumerate(agreeing) if a != b), num_drafted)
        count = len(shown)
        return Draft(
            text="".join(shown),
            token_ids=tuple(range(count)),
            token_logprobs=(logprob,) * count,
            token_entropies=(0.5,) * count,
            token_margins=(1.0,) * count,
            finish_reason="cancelled" if cancelled else "stop",
            hidden=np.zeros(4, dtype=np.float16),
            tokens_in=sum(len(m.content.split()) for m in messages),
            prefill_s=0.001,
            decode_s=0.01 * count,
            num_drafted=num_drafted,
            num_accepted=min(num_accepted, count),
            num_spans=1 if draft else 0,
        )

    def sample(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        count: int,
        *,
        observer: Observer | None = None,
    ) -> list[Draft]:
        """See Engine.sample; the script is asked with " vote SEED" after the message."""
        *before, last = messages
        seeds = range(sampling.seed, sampling.seed + count)
        return [
            self.generate(
                [*before, replace(last, content=f"{last.content} vote {seed}")],
                replace(sampling, seed=seed),
                observer=observer,
            )
            for seed in seeds
        ]

    def tokenize(self, text: str) -> list[int]:
        return [*range(len(text.split(" "))), -1]

    def measure_rates(self) -> Rates:
        return self._rates

    def close(self) -> None:
        self.closed = True
