"""Values that cross module boundaries; knows nothing of models, files or policies."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

Role = Literal["system", "user", "assistant"]
FinishReason = Literal["stop", "stop_string", "length", "cancelled"]
"""The model ended its turn, a stop string came, no room was left, or an observer ended it."""

CostUnit = Literal["s", "gpu_s", "usd"]
"""Seconds of this machine, seconds of a GPU, or dollars: one for all stages of a ladder."""

OnFailure = Literal["degrade", "error"]
"""A stage's server fails: answer without that stage, or not at all."""

_FAR = 1_000_000
"""Rows of a pass up to which a price is a straight line."""


class Decision(enum.StrEnum):
    """What a stopping policy says after each draft (and before the first)."""

    STOP = "stop"
    ESCALATE = "escalate"


class Action(enum.StrEnum):
    """What one step of a trace did."""

    DRAFT = "draft"
    VERIFY = "verify"
    SKIP = "skip"
    ABANDON = "abandon"
    RECALL = "recall"
    ABSTAIN = "abstain"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; a last turn of the assistant is continued, not closed."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen: temperature 0 is greedy; one draw a position from `seed`.

    With `lenience` (nats, greedy only) a token of an offered draft is kept that the target thinks
    at most so much less likely than its best one; at 0 verification is exact.
    """

    max_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    lenience: float = 0.0


@dataclass(frozen=True, slots=True)
class Rates:
    """Seconds a token of one model on one idle machine: reading a prompt, decoding, verifying.

    `verify_s` pairs a number of rows verified in one pass with that pass's seconds, ascending.
    Where a token has a price all of these are in its `unit` instead.
    """

    prefill_s: float
    decode_s: float
    verify_s: tuple[tuple[int, float], ...] = ()
    unit: CostUnit = "s"

    @classmethod
    def linear(cls, read: float, decode: float, unit: CostUnit = "s") -> Self:
        """Of tokens that cost the same however many are read or verified at a time.

        A verified row costs what reading a token does.
        """
        return cls(read, decode, ((_FAR, decode + (_FAR - 1) * read),), unit)

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Self:
        """From what `dataclasses.asdict` gave; raises KeyError and TypeError for other things."""
        verify_s = tuple((n, s) for n, s in raw["verify_s"])
        return cls(raw["prefill_s"], raw["decode_s"], verify_s, raw.get("unit", "s"))

    def work_s(self, work: Work) -> float:
        """Of an answer so far; as `draft_s` and `votes_s` of what it came to."""
        passes_s = sum(count * self.pass_s(rows) for rows, count in work.passes.items())
        return self.prefill_s * work.num_read + passes_s

    def pass_s(self, num_rows: float) -> float:
        """Seconds of a pass over `num_rows` with logits; between the measured sizes, lines."""
        rows, seconds = zip((1, self.decode_s), *self.verify_s, strict=True)
        return float(np.interp(num_rows, rows, seconds))

    def draft_s(self, tokens_in: int, num_chosen: int, verified: Verified | None = None) -> float:
        """Cost of an answer: token counts times rates; `tokens_in` without what was cached.

        `num_chosen` counts the token that ends the turn too. What no span's pass gave is decoded.
        """
        verified = verified or Verified()
        verify_s = sum(map(self.pass_s, verified.span_rows))
        num_decoded = num_chosen - verified.num_chosen
        return self.prefill_s * tokens_in + self.decode_s * num_decoded + verify_s

    def votes_s(self, tokens_in: int, num_chosen: Sequence[int]) -> float:
        """Cost of answers decoded together: a pass has a row for each that has not ended.

        For none nothing is read either.
        """
        if not num_chosen:
            return 0.0
        running = [sum(n > step for n in num_chosen) for step in range(max(num_chosen))]
        return self.prefill_s * tokens_in + sum(map(self.pass_s, running))


class Acceptance(NamedTuple):
    """Log odds that a target's next token is a draft's, where its last tokens match the draft's.

    Linear in l = log(1 + tokens that match), in how sure the draft's own stage was of its token,
    and in their product; `start` counts before the first token, `single` where one token matches.
    The defaults are what recordings of three local pairs of models show without that surety.
    """

    bias: float = -1.7
    match: float = 1.25
    surety: float = 0.0
    both: float = 0.0
    start: float = 0.9
    single: float = 0.0

    def log_odds(self, num_matching: int, surety: float) -> float:
        length = math.log1p(num_matching)
        odds = self.bias + self.surety * surety + (self.match + self.both * surety) * length
        return odds + (self.start, self.single)[num_matching] if num_matching < 2 else odds


@dataclass(frozen=True, slots=True)
class Offer:
    """An earlier stage's draft for a target to verify: its text, and how sure that stage was.

    Token i, whose natural-log probability was `token_logprobs[i]`, ends before byte
    `token_ends[i]` of the text's UTF-8; both are empty where nothing is known. One that has not
    `ended` was cut: its text would have gone on. A target that votes in the same way takes over
    the `votes` that elected it.
    """

    text: str
    token_ends: tuple[int, ...] = ()
    token_logprobs: tuple[float, ...] = ()
    ended: bool = True
    votes: Votes | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """What verifying an earlier draft took in one answer.

    `num_drafted` of its tokens were put to the target, which kept `num_accepted`, in passes of
    `span_rows` rows; these passes gave `num_chosen` tokens: the kept ones and mostly one more each.
    """

    num_drafted: int = 0
    num_accepted: int = 0
    num_chosen: int = 0
    span_rows: tuple[int, ...] = ()

    @property
    def num_spans(self) -> int:
        return len(self.span_rows)


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """One stage's answer to one prompt, before anything has judged it.

    `token_ids` leaves out the end-of-turn token; `token_logprobs` (natural log, of the sampled
    tokens under the untempered distribution), `token_entropies` (nats) and `token_margins`
    (top-1 minus top-2 logit) have one entry for each of them. `hidden` is the model's hidden state
    at the last prompt token, shape (width,). `num_cached` prompt tokens were in the KV cache
    already, or are worked examples that it keeps from now on. `token_ends` are the bytes of the
    text up to each token's end, where they were kept. A draft that `votes` elected has the evidence
    of that one vote and what all of them took. Evidence that a server did not give is empty;
    `remark` is what a trace should say of the draft.
    """

    text: str
    token_ids: tuple[int, ...]
    token_logprobs: tuple[float, ...]
    token_entropies: tuple[float, ...]
    token_margins: tuple[float, ...]
    finish_reason: FinishReason
    tokens_in: int
    prefill_s: float
    decode_s: float
    num_cached: int = 0
    verified: Verified = Verified()
    hidden: NDArray[np.float16] | None = None
    token_ends: tuple[int, ...] = ()
    votes: Votes | None = None
    remark: str = ""

    @property
    def offer(self) -> Offer:
        """What a later stage may verify or take over of it."""
        ended = self.finish_reason == "stop"
        return Offer(self.text, self.token_ends, self.token_logprobs, ended, self.votes)

    @property
    def made(self) -> tuple[Draft, ...]:
        """What its stage decoded for it: the votes that it did not take over, or itself alone."""
        return (self,) if self.votes is None else self.votes.sampled

    @property
    def has_ended(self) -> bool:
        return self.finish_reason != "cancelled"

    @property
    def tokens_out(self) -> int:
        return len(self.token_ids)

    @property
    def num_chosen(self) -> int:
        """Tokens that were chosen: those of the answer, and the one that ended it, if any."""
        return self.tokens_out + (self.finish_reason == "stop")

    @property
    def latency_s(self) -> float:
        return self.prefill_s + self.decode_s


class VoteSource(NamedTuple):
    """All that a vote depends on besides prompt and place: equal ones give equal votes."""

    model_hash: str
    style: str
    sampling: Sampling


@dataclass(frozen=True, slots=True, eq=False)
class Votes:
    """Sampled answers among which one was elected; the i-th has the seed `sampling.seed + i`.

    Those that were cut short, since they could change nothing, have no say. `sampled` are the ones
    that the electing stage did not take over from an earlier one. Of recorded votes the source is
    not kept.
    """

    drafts: tuple[Draft, ...]
    sampled: tuple[Draft, ...]
    source: VoteSource | None = None


class Work(NamedTuple):
    """What an answer has taken so far.

    `num_read` prompt tokens that were not cached; `passes` that gave tokens, by their rows.
    """

    num_read: int = 0
    passes: Mapping[int, int] = MappingProxyType({})


class Progress(NamedTuple):
    """What an observer sees while an answer grows; `new_text` came since its last call."""

    new_text: str
    num_tokens: int
    token_logprobs: Sequence[float]
    work: Work = Work()


Observer = Callable[[Progress], bool]
"""Called while an answer grows; False ends the generation (finish_reason "cancelled").

It runs on the one thread on which its engine serves everybody: all answers wait while it works, and
it cannot ask the same engine for anything.
"""

IsDecided = Callable[[Sequence[str], int], bool]
"""Whether the texts of the votes that have ended settle who is elected; the others have come to so
many tokens."""
