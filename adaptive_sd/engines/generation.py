"""How one request is answered: its prompt, then passes of one token or of a draft's span."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.engines.alignment import common_prefix
from adaptive_sd.engines.passes import Piece, Steps, TokenSequence
from adaptive_sd.engines.sampling import TokenChoice, choose_token
from adaptive_sd.engines.text import TextStream, token_ends
from adaptive_sd.engines.verification import DraftVerifier
from adaptive_sd.types import Draft, FinishReason, Observer, Progress, Sampling, Verified, Work


class Vocabulary(Protocol):
    """What the loop must know of tokens."""

    def piece(self, token: int) -> bytes: ...

    def is_end(self, token: int) -> bool: ...


class Meter:
    """Counts the work on a request; see Work."""

    def __init__(self) -> None:
        self.num_read = 0
        self.passes: Counter[int] = Counter()

    @property
    def work(self) -> Work:
        return Work(self.num_read, self.passes)


class Answer:
    """The answer while it grows: tokens, evidence and text, and whether it has ended.

    `meter` counts the work on it, together with that on others that are decoded with it.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        sampling: Sampling,
        limit: int,
        observer: Observer | None,
        meter: Meter,
    ) -> None:
        self._vocabulary = vocabulary
        self._limit = limit
        self._observer = observer
        self.meter = meter
        self._stream = TextStream(sampling.stop)
        self.choices: list[TokenChoice] = []
        self.logprobs: list[float] = []
        self.finish_reason: FinishReason | None = None

    @property
    def text(self) -> str:
        return self._stream.text

    @property
    def token_ends(self) -> tuple[int, ...]:
        """The bytes of the text up to each token's end."""
        return token_ends(self._vocabulary.piece(choice.token) for choice in self.choices)

    def add(self, choice: TokenChoice) -> None:
        """Take one more token; sets `finish_reason` when the answer ends with it."""
        if self._vocabulary.is_end(choice.token):
            self.finish("stop")
            return
        self.choices.append(choice)
        self.logprobs.append(choice.logprob)
        new_text = self._stream.push(self._vocabulary.piece(choice.token))
        if self._stream.stopped:
            self.finish_reason = "stop_string"
        elif len(self.choices) >= self._limit:
            new_text += self._stream.finish()
            self.finish_reason = "length"
        if not self._report(new_text) and self.finish_reason is None:
            self.finish("cancelled")

    def cancelled(self) -> bool:
        """Ask the observer, between passes without tokens, whether to go on."""
        if not self._report(""):
            self.finish("cancelled")
        return self.finish_reason is not None

    def finish(self, reason: FinishReason) -> None:
        """End it here."""
        self.finish_reason = reason
        rest = self._stream.finish()
        if rest and reason != "cancelled":
            self._report(rest)

    def _report(self, new_text: str) -> bool:
        if self._observer is None:
            return True
        seen = Progress(new_text, len(self.choices), self.logprobs, self.meter.work)
        return self._observer(seen)


def generate(
    sequence: TokenSequence,
    vocabulary: Vocabulary,
    prompt: Sequence[int],
    sampling: Sampling,
    *,
    verifier: DraftVerifier,
    beside: Callable[[TokenSequence], int] = lambda _: 0,
    observer: Observer | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Steps[Draft]:
    """Answer `prompt` (token ids, at least one, fewer than the sequence may have).

    Each pass evaluates the last chosen token and a span of the draft, and gives one token for
    every row until the first that differs from the draft: the correction comes for free. A span
    takes a sequence that can forget its last tokens only. `beside` tells how many rows of the next
    pass belong to others than the given sequence.
    """
    start_s = clock()
    limit = min(sampling.max_tokens, sequence.size - len(prompt))
    meter = Meter()
    answer = Answer(vocabulary, sampling, limit, observer, meter)
    num_cached = yield from read_prompt(sequence, prompt, answer)
    pending = prompt[-1]
    hidden: NDArray[np.float16] | None = None
    first_s: float | None = None
    while answer.finish_reason is None:
        span = verifier.propose(limit - len(answer.choices) - 1, beside(sequence))
        (rows,) = yield [Piece(sequence, [pending, *span], hidden=first_s is None)]
        meter.passes[1 + len(span)] += 1
        if first_s is None:
            meter.num_read += 1
            hidden, first_s = rows.hidden, clock()
        known = len(sequence.tokens) - len(span)
        chosen = _walk(rows.logits, span, sampling, verifier, answer)
        verifier.count(span, chosen)
        pending, num_kept = chosen[-1], known + common_prefix(span, chosen)
        sequence.truncate(num_kept)
        assert len(sequence.tokens) == num_kept
    end_s = clock()
    return draft_of(
        answer,
        num_cached + meter.num_read,
        num_cached,
        (end_s if first_s is None else first_s) - start_s,
        0.0 if first_s is None else end_s - first_s,
        hidden,
        verifier.verified,
    )


def draft_of(
    answer: Answer,
    tokens_in: int,
    num_cached: int,
    prefill_s: float,
    decode_s: float,
    hidden: NDArray[np.float16] | None,
    verified: Verified | None = None,
) -> Draft:
    """An answer that has ended, with what it took; `tokens_in` are those of the prompt it read."""
    assert answer.finish_reason is not None
    return Draft(
        text=answer.text,
        token_ids=tuple(c.token for c in answer.choices),
        token_logprobs=tuple(answer.logprobs),
        token_entropies=tuple(c.entropy for c in answer.choices),
        token_margins=tuple(c.margin for c in answer.choices),
        finish_reason=answer.finish_reason,
        tokens_in=tokens_in,
        prefill_s=prefill_s,
        decode_s=decode_s,
        num_cached=num_cached,
        verified=verified or Verified(),
        hidden=hidden,
        token_ends=answer.token_ends,
    )


def read_prompt(sequence: TokenSequence, prompt: Sequence[int], answer: Answer) -> Steps[int]:
    """Bring all of the prompt but its last token into the sequence; ends when cancelled.

    Gives how many tokens are not read for this answer: those that were cached, and those which the
    cache keeps once they are read, for all prompts that begin alike. These are read in passes of
    their own, so that what is kept of them is the same whatever comes after.
    """
    sequence.start(prompt)
    num_shared, num_cached = sequence.num_to_keep, len(sequence.tokens)
    while not answer.cancelled() and len(sequence.tokens) < len(prompt) - 1:
        at = len(sequence.tokens)
        yield [Piece(sequence, prompt[at : num_shared if at < num_shared else -1], logits=False)]
        num_cached = max(num_cached, min(num_shared, len(sequence.tokens)))
        answer.meter.num_read = len(sequence.tokens) - num_cached
    return num_cached


def _walk(
    rows: NDArray[np.float32],
    span: Sequence[int],
    sampling: Sampling,
    verifier: DraftVerifier,
    answer: Answer,
) -> list[int]:
    """Choose a token from each row until one is not the span's, or the answer ends.

    Lenience judges every row alike, verified or not: no answer depends on what a pass costs.
    """
    chosen: list[int] = []
    for row, token in zip_longest(rows, span):
        choice = choose_token(row, sampling, len(answer.choices), verifier.expected())
        answer.add(choice)
        verifier.observe(choice.token)
        chosen.append(choice.token)
        if answer.finish_reason is not None or choice.token != token:
            break
    return chosen
