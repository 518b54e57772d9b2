"""Requests one after the other against all at once: what decoding in one batch gains."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import NamedTuple

from adaptive_sd.decision.calibration import Interval
from adaptive_sd.engines.base import Engine
from adaptive_sd.offline.benches.methods import divergence_margin
from adaptive_sd.types import Draft, Message, Offer, Rates, Sampling

NUM_ROUNDS = 3

_SUBJECTS = (
    "rivers", "clocks", "bread", "bridges", "maps", "glass", "bees", "harbours",
    "winter", "music", "trains", "gardens", "paper", "stars", "markets", "wool",
)  # fmt: skip

_WORDS_KEPT = 10
"""Of a draft the word after so many is left out."""


class Spread(NamedTuple):
    """Over the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))

    def __format__(self, spec: str) -> str:
        return format(Interval(*self), spec)


@dataclass(frozen=True, slots=True)
class Throughput:
    """Tokens of all answers, and how long they took: on the clock, and of the processor.

    `decode_s` is the time in which any answer was between its first token and its end.
    """

    num_tokens: int
    wall_s: float
    cpu_s: float
    decode_s: float

    @property
    def tokens_per_s(self) -> float:
        return self.num_tokens / self.wall_s

    @property
    def decoded_per_s(self) -> float:
        return self.num_tokens / self.decode_s

    @property
    def tokens_per_cpu_s(self) -> float:
        return self.num_tokens / self.cpu_s


@dataclass(frozen=True, slots=True)
class Round:
    """The same requests in every way; `with_drafts` at once, each with a draft."""

    alone: Throughput
    together: Throughput
    with_drafts: Throughput | None = None


@dataclass(frozen=True, slots=True)
class ConcurrencyBench:
    """All rounds.

    `largest_margin` is that between the two best tokens where an answer first diverges from the one
    alone (0 when none does): near ties fall either way, since kernels of other sizes round
    otherwise.
    """

    num_requests: int
    max_tokens: int
    rounds: tuple[Round, ...]
    equal_share: float
    largest_margin: float

    @property
    def ratio(self) -> Spread:
        """Of tokens a second at once over alone, prompts included."""
        return Spread.of([r.together.tokens_per_s / r.alone.tokens_per_s for r in self.rounds])

    @property
    def decode_ratio(self) -> Spread:
        return Spread.of([r.together.decoded_per_s / r.alone.decoded_per_s for r in self.rounds])

    @property
    def cpu_ratio(self) -> Spread:
        """Of tokens a second of processor time: other programs disturb it less."""
        return Spread.of(
            [r.together.tokens_per_cpu_s / r.alone.tokens_per_cpu_s for r in self.rounds]
        )

    @property
    def draft_ratio(self) -> Spread | None:
        """Of tokens a second at once, with drafts over without."""
        ratios = [
            r.with_drafts.tokens_per_s / r.together.tokens_per_s
            for r in self.rounds
            if r.with_drafts is not None
        ]
        return Spread.of(ratios) if ratios else None

    def to_json(self) -> dict[str, object]:
        ratios = (self.ratio, self.decode_ratio, self.cpu_ratio, self.draft_ratio)
        names = ("ratio", "decode_ratio", "cpu_ratio", "draft_ratio")
        spreads = {n: r and r._asdict() for n, r in zip(names, ratios, strict=True)}
        return asdict(self) | spreads


def bench_concurrency(
    open_engine: Callable[[int], Engine],
    num_requests: int,
    max_tokens: int,
    *,
    rates: Rates | None = None,
) -> ConcurrencyBench:
    """In each round, with an engine of as many slots, then with one of one slot, one by one.

    The answers are greedy; prompts ask for long ones. With the model's `rates` a round ends with
    all at once again, each offered its answer alone without some words. Every run has an engine of
    its own, whose KV cache knows no prompt.
    """
    asked = [
        [Message("user", f"{i + 1}. Write a long text about {_SUBJECTS[i % len(_SUBJECTS)]}.")]
        for i in range(num_requests)
    ]
    sampling = Sampling(max_tokens=max_tokens)
    none = [None] * num_requests
    rounds: list[Round] = []
    pairs: list[tuple[Draft, Draft]] = []
    for _ in range(NUM_ROUNDS):
        together, batch = _run(open_engine(num_requests), asked, sampling, none, None, num_requests)
        alone, single = _run(open_engine(1), asked, sampling, none, None, 1)
        with_drafts = None
        if rates is not None:
            offers = [_offer(draft) for draft in single]
            with_drafts, _ = _run(
                open_engine(num_requests), asked, sampling, offers, rates, num_requests
            )
        rounds.append(Round(alone, together, with_drafts))
        pairs += zip(single, batch, strict=True)
    return ConcurrencyBench(
        num_requests=num_requests,
        max_tokens=max_tokens,
        rounds=tuple(rounds),
        equal_share=sum(a.token_ids == b.token_ids for a, b in pairs) / len(pairs),
        largest_margin=max(divergence_margin(a, b) or 0.0 for a, b in pairs),
    )


def _run(
    engine: Engine,
    asked: Sequence[Sequence[Message]],
    sampling: Sampling,
    offers: Sequence[Offer | None],
    rates: Rates | None,
    num_callers: int,
) -> tuple[Throughput, list[Draft]]:
    """All answers, `num_callers` at a time; closes the engine."""
    spans: list[tuple[float, float]] = []

    def answer(messages: Sequence[Message], offer: Offer | None) -> Draft:
        draft = engine.generate(messages, sampling, draft=offer, rates=rates)
        end_s = time.perf_counter()
        spans.append((end_s - draft.decode_s, end_s))
        return draft

    try:
        engine.generate([Message("user", "Hello")], Sampling(max_tokens=2))  # pages its weights in
        with ThreadPoolExecutor(num_callers) as callers:
            start_s, start_cpu_s = time.perf_counter(), time.process_time()
            drafts = list(callers.map(answer, asked, offers))
            wall_s, cpu_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
    finally:
        engine.close()
    num_tokens = sum(draft.tokens_out for draft in drafts)
    return Throughput(num_tokens, wall_s, cpu_s, covered_s(spans)), drafts


def covered_s(spans: Iterable[tuple[float, float]]) -> float:
    """How long at least one of the (begin, end) spans lasted."""
    covered, until = 0.0, float("-inf")
    for begin, end in sorted(spans):
        covered += max(0.0, end - max(begin, until))
        until = max(until, end)
    return covered


def _offer(draft: Draft) -> Offer:
    words = draft.text.split(" ")
    kept = [word for i, word in enumerate(words) if i % (_WORDS_KEPT + 1) < _WORDS_KEPT]
    return Offer(" ".join(kept), ended=draft.offer.ended)
