"""A scripted ladder whose last stages are plain answers and votes of one model."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from adaptive_sd.engines.fake import FakeEngine
from adaptive_sd.stage import Engines, Stage
from adaptive_sd.types import Draft, FinishReason, IsDecided, Message, Observer, Rates, Sampling
from tests.ladder import make_engine

RATES = Rates(0.01, 0.1, ((4, 0.4), (8, 0.8)))
"""Of a machine that gains nothing by decoding votes together."""

VOTES = {"large": 1, "large x2": 2, "large x5": 5}


def make_vote(
    text: str, num_tokens: int, finish_reason: FinishReason = "length", num_cached: int = 0
) -> Draft:
    """A sampled answer of so many tokens."""
    return Draft(
        text=text,
        token_ids=tuple(range(num_tokens)),
        token_logprobs=(-0.1,) * num_tokens,
        token_entropies=(0.5,) * num_tokens,
        token_margins=(1.0,) * num_tokens,
        finish_reason=finish_reason,
        tokens_in=10,
        prefill_s=0.0,
        decode_s=1.0,
        num_cached=num_cached,
    )


class RememberingEngine(FakeEngine):
    """Knows the prompt that it has read last, but for its last token."""

    _last: tuple[Message, ...] = ()

    def generate(self, messages: Sequence[Message], sampling: Sampling, **rest: Any) -> Draft:
        known, self._last = tuple(messages) == self._last, tuple(messages)
        draft = super().generate(messages, sampling, **rest)
        return replace(draft, num_cached=draft.tokens_in - 1 if known else 0)

    def sample(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        seeds: Sequence[int],
        *,
        is_decided: IsDecided | None = None,
        observer: Observer | None = None,
    ) -> list[Draft]:
        known = tuple(messages) == self._last
        rest = {"is_decided": is_decided, "observer": observer}
        first, *others = super().sample(messages, sampling, seeds, **rest)  # type: ignore[arg-type]
        self._last = tuple(messages)
        first = replace(first, num_cached=first.tokens_in - 1 if known else 0)
        return [first, *(replace(vote, num_cached=vote.tokens_in) for vote in others)]


def make_large(rates: Rates = RATES) -> RememberingEngine:
    """Right more often than not, wrong in different ways, and long or short; by votes or alone."""

    def script(prompt: str) -> str:
        a, b = map(int, re.findall(r"sum (\d+) \+ (\d+)", prompt)[-1])
        rng = random.Random(prompt)
        miss = rng.choice((0, 0, 0, 1, 2))
        return " ".join(["well"] * rng.randint(0, 25) + [f"The answer is {a + b + miss}"])

    return RememberingEngine("large", script, rates=rates)


def make_voting_stages(folder: Path, rates: Rates = RATES) -> list[Stage]:
    """A smaller stage, and three of one engine; `folder` knows no other rates."""
    engines: Engines = {}
    place = {"rates_path": folder / "rates.json"}
    load = partial(make_large, rates)
    return [
        Stage("small", load=lambda: make_engine("small"), **place),
        *(
            Stage("large", name=name, votes=votes, load=load, engines=engines, **place)
            for name, votes in VOTES.items()
        ),
    ]
