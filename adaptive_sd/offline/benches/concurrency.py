"""Requests one after the other against all at once: what decoding in one batch gains."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from adaptive_sd.engines.base import Engine
from adaptive_sd.offline.benches.methods import parting_margin
from adaptive_sd.types import Draft, Message, Sampling

_SUBJECTS = (
    "rivers", "clocks", "bread", "bridges", "maps", "glass", "bees", "harbours",
    "winter", "music", "trains", "gardens", "paper", "stars", "markets", "wool",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Throughput:
    """Tokens of all answers, and how long they took: on the clock, and of the processor.

    `decode_s` is the time without reading prompts.
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


@dataclass(frozen=True, slots=True)
class ConcurrencyBench:
    """The same requests both ways.

    `largest_margin` is that between the two best tokens where an answer first parts from the one
    alone (0 when none does): near ties fall either way, since kernels of other sizes round
    otherwise.
    """

    num_requests: int
    max_tokens: int
    alone: Throughput
    together: Throughput
    equal_share: float
    largest_margin: float

    @property
    def ratio(self) -> float:
        """Of tokens a second, prompts included."""
        return self.together.tokens_per_s / self.alone.tokens_per_s

    @property
    def decode_ratio(self) -> float:
        return self.together.decoded_per_s / self.alone.decoded_per_s

    @property
    def cpu_ratio(self) -> float:
        """Of tokens a second of processor time: other programs disturb it less."""
        return (self.together.num_tokens / self.together.cpu_s) / (
            self.alone.num_tokens / self.alone.cpu_s
        )

    def to_json(self) -> dict[str, object]:
        ratios = {name: getattr(self, name) for name in ("ratio", "decode_ratio", "cpu_ratio")}
        return asdict(self) | ratios


def bench_concurrency(
    open_engine: Callable[[int], Engine], num_requests: int, max_tokens: int
) -> ConcurrencyBench:
    """Answer with an engine of as many slots, then with one of one slot one after the other.

    The answers are greedy; prompts ask for long ones.
    """
    asked = [
        [Message("user", f"{i + 1}. Write a long text about {_SUBJECTS[i % len(_SUBJECTS)]}.")]
        for i in range(num_requests)
    ]
    together, batch = _run(open_engine(num_requests), asked, max_tokens, num_callers=num_requests)
    alone, single = _run(open_engine(1), asked, max_tokens, num_callers=1)
    pairs = list(zip(single, batch, strict=True))
    return ConcurrencyBench(
        num_requests=num_requests,
        max_tokens=max_tokens,
        alone=alone,
        together=together,
        equal_share=sum(a.token_ids == b.token_ids for a, b in pairs) / num_requests,
        largest_margin=max(parting_margin(a, b) or 0.0 for a, b in pairs),
    )


def _run(
    engine: Engine, asked: Sequence[Sequence[Message]], max_tokens: int, num_callers: int
) -> tuple[Throughput, list[Draft]]:
    """All answers, `num_callers` at a time; closes the engine."""
    sampling = Sampling(max_tokens=max_tokens)
    try:
        engine.generate([Message("user", "Hello")], Sampling(max_tokens=2))  # pages its weights in
        with ThreadPoolExecutor(num_callers) as callers:
            start_s, start_cpu_s = time.perf_counter(), time.process_time()
            drafts = list(callers.map(lambda messages: engine.generate(messages, sampling), asked))
            wall_s, cpu_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
    finally:
        engine.close()
    seconds = [draft.decode_s for draft in drafts]
    decode_s = sum(seconds) if num_callers == 1 else max(seconds)
    return Throughput(sum(draft.tokens_out for draft in drafts), wall_s, cpu_s, decode_s), drafts
