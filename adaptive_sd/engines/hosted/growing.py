"""An answer while its increments arrive, and the draft that it becomes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

from adaptive_sd.engines.hosted.deltas import Delta, Token, Usage
from adaptive_sd.engines.text import TextStream
from adaptive_sd.types import Draft, FinishReason, Observer, Progress, Sampling, Verified, Work

_BYTES_A_TOKEN = 4
"""Where a server does not count."""

_MOST_ADDED = 4096
"""Tokens that a server's template may add to the bytes of a prompt."""

_LEAST_TO_DOUBT = 4


class _Piece(NamedTuple):
    """Bytes of text and their tokens; None where those were not told."""

    content: bytes
    tokens: Sequence[Token] | None


class Opening(NamedTuple):
    """What is known of an answer besides its increments.

    `tokens_in` is the prompt's where we know it better than the server's count; its first
    `num_accepted` tokens come from a draft.
    """

    tokens_in: int | None = None
    num_accepted: int = 0
    verified: Verified = Verified()
    remark: str = ""


class Growing:
    """Collects text and evidence, and shows them to the observer token by token."""

    def __init__(
        self,
        sampling: Sampling,
        observer: Observer | None,
        num_bytes_in: int,
        *,
        reads_cache: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Of a prompt of so many bytes; with `reads_cache` what was known of it costs nothing."""
        self.opening = Opening()
        self._limit = sampling.max_tokens
        self._observer = observer
        self._num_bytes_in = num_bytes_in
        self._reads_cache = reads_cache
        self._clock = clock
        self._start_s = clock()
        self._first_s: float | None = None
        self._stream = TextStream(sampling.stop)
        self._tokens: list[Token] = []
        self._logprobs: list[float] = []
        self._num_untold = 0
        """Increments of text whose tokens were not told."""
        self._usage: Usage | None = None
        self._is_whole = False
        """Whether nothing of it is still to come."""
        self.was_ended = False
        """By the server, which may then have more to say: what it counted."""
        self.finish_reason: FinishReason | None = None

    @property
    def text(self) -> str:
        return self._stream.text

    @property
    def is_awaited(self) -> bool:
        """Whether anything more of it is of use: text, or what the server counted."""
        return self.finish_reason is None or self.was_ended

    def take(self, found: Delta | Opening) -> None:
        """What came next, unless it has ended without the server's knowing."""
        if isinstance(found, Opening):
            self.opening = found
        elif self.is_awaited:
            self.add(found)

    def add(self, delta: Delta) -> None:
        """Take one more increment; sets `finish_reason` where the answer ends within it."""
        if self._first_s is None and (delta.text or delta.tokens):
            self._first_s = self._clock()
        self._is_whole = delta.finish is not None
        *before, last = _pieces(delta)
        for piece in before:
            self._grow(piece)
        self._usage = self._counted(delta) or self._usage
        self._grow(last, ending=delta if self._is_whole else None)

    def _counted(self, delta: Delta) -> Usage | None:
        """Of tokens that are no longer wanted it does not count."""
        if delta.usage is None or self.finish_reason != "cancelled":
            return delta.usage
        wanted = self.num_seen - self.opening.num_accepted
        return delta.usage._replace(tokens_out=min(delta.usage.tokens_out, wanted))

    def poll(self) -> None:
        """Ask the observer, while nothing comes, whether to go on."""
        if self.finish_reason is None:
            self._report("")

    def cut(self) -> None:
        """End it here, if it has not ended: no more is awaited of it."""
        if self.finish_reason is None:
            self.finish_reason = "cancelled"
        self.was_ended = False

    def _grow(self, piece: _Piece, ending: Delta | None = None) -> None:
        """By what belongs together, unless it has ended; `ending` says that it does, and why."""
        if self.finish_reason is not None:
            return
        new_text = self._stream.push(piece.content)
        if self._stream.stopped:
            self.finish_reason = "stop_string"
        elif ending is not None:
            self.finish_reason, self.was_ended = _reason(ending), True
            new_text += self._stream.finish()
        self._num_untold += piece.tokens is None and bool(piece.content)
        tokens = piece.tokens or ()
        self._tokens += tokens
        self._logprobs += [token.logprob for token in tokens]
        if tokens or new_text:
            self._report(new_text)

    def _report(self, new_text: str) -> None:
        if self._observer is None:
            return
        progress = Progress(new_text, self.num_seen, self._logprobs, self._work)
        goes_on = self._observer(progress) or self._is_whole  # then all of it is here and paid
        if not goes_on and self.finish_reason is None:
            self.finish_reason = "cancelled"

    @property
    def num_seen(self) -> int:
        return len(self._tokens) + self._num_untold

    @property
    def _work(self) -> Work:
        """As what the draft will cost, by what was counted or came so far; before that, nothing."""
        verified = self.opening.verified
        if self._first_s is None and self._usage is None and not verified.num_spans:
            return Work()
        tokens_in, tokens_out, _ = self._counts(self.num_seen)
        num_decoded = tokens_out + (self.finish_reason == "stop") - verified.num_chosen
        return Work(
            tokens_in - self._num_cached,
            {1: max(0, num_decoded)} | dict.fromkeys(verified.span_rows, 1),
        )

    def draft(self) -> Draft:
        """The answer, which has ended."""
        assert self.finish_reason is not None
        end_s = self._clock()
        first_s = end_s if self._first_s is None else self._first_s
        text = self._stream.text
        tokens, ends = _spelling(self._tokens, text, was_cut=self.finish_reason == "length")
        if self._num_untold and not ends:  # some were told, others not
            tokens = ()
        tokens_in, tokens_out, doubt = self._counts(len(tokens))
        is_telling = len(tokens) < _LEAST_TO_DOUBT or any(t.logprob for t in tokens)
        known = tokens if is_telling else ()
        return Draft(
            text=text,
            token_ids=_numbers(tokens, tokens_out),
            token_logprobs=tuple(t.logprob for t in known),
            token_entropies=_whole([t.entropy for t in known]),
            token_margins=_whole([t.margin for t in known]),
            finish_reason=self.finish_reason,
            tokens_in=tokens_in,
            prefill_s=first_s - self._start_s,
            decode_s=end_s - first_s,
            num_cached=self._num_cached,
            verified=self.opening.verified,
            token_ends=ends if known else (),
            remark="; ".join(filter(None, (self.opening.remark, doubt))),
        )

    @property
    def _num_cached(self) -> int:
        """None after a draft was verified: what is known then was read for that."""
        known = self._usage.num_cached if self._usage is not None and self._reads_cache else None
        return 0 if self.opening.verified.num_spans else known or 0

    def _counts(self, num_shown: int) -> tuple[int, int, str]:
        """Tokens in and out, without the one that ended the answer, and why they are estimates.

        A server counts also what it does not show, as tokens of reasoning.
        """
        usage, ended, known_in = self._usage, self.finish_reason == "stop", self.opening.tokens_in
        if usage is not None and self._is_likely(usage, num_shown):
            counted = usage.tokens_out + self.opening.num_accepted - ended
            return known_in or usage.tokens_in, max(num_shown, counted), ""
        estimate = known_in or max(1, self._num_bytes_in // _BYTES_A_TOKEN)
        says = (
            "the server told none"
            if usage is None
            else f"the server's {usage.tokens_in} + {usage.tokens_out} cannot be"
        )
        doubt = f"token counts are estimates: {says}"
        return estimate, num_shown or self.num_seen, doubt

    def _is_likely(self, usage: Usage, num_shown: int) -> bool:
        """Whether the prompt and what was shown can be so many tokens."""
        num_accepted = self.opening.num_accepted
        least_out = max(num_shown - num_accepted, bool(self._stream.text) and not num_accepted)
        most_in = self._num_bytes_in + _MOST_ADDED
        return 1 <= usage.tokens_in <= most_in and least_out <= usage.tokens_out <= self._limit


def _pieces(delta: Delta) -> list[_Piece]:
    """One for each token, so that an answer can end after any of them.

    Where they do not spell the text, as when a server holds some of it back, the last has all.
    """
    content, tokens = delta.text.encode("utf-8", errors="replace"), delta.tokens
    if not tokens:
        return [_Piece(content, tokens)]
    contents = [token.content for token in tokens]
    if b"".join(contents) != content:
        contents = [*[b""] * (len(tokens) - 1), content]
    return [_Piece(own, (token,)) for own, token in zip(contents, tokens, strict=True)]


def _reason(delta: Delta) -> FinishReason:
    if delta.finish == "length":
        return "length"
    return "stop_string" if delta.stop_string else "stop"


def _spelling(
    tokens: Sequence[Token], text: str, *, was_cut: bool
) -> tuple[Sequence[Token], tuple[int, ...]]:
    """The tokens of the text, without the one that ended it, and the bytes up to each one's end.

    A text that was cut at its most tokens has all of them, though the last may be of a character
    that is not whole and not shown. No ends where the tokens do not spell the text: a server may
    hide some, as those of reasoning.
    """
    spelled = text.encode("utf-8", errors="replace")
    if not b"".join(t.content for t in tokens).startswith(spelled):
        return tokens, ()
    ends = list(accumulate(len(t.content) for t in tokens))
    if was_cut:
        return tokens, tuple(min(end, len(spelled)) for end in ends)
    count = sum(end - len(t.content) < len(spelled) for t, end in zip(tokens, ends, strict=True))
    return tokens[:count], tuple(ends[:count])


def _numbers(tokens: Sequence[Token], count: int) -> tuple[int, ...]:
    """The model's own of `count` tokens, or where those are not known others that stand for them.

    Then equal ones are for equal tokens, and new ones for tokens that were not told.
    """
    own = [t.number for t in tokens if t.number is not None]
    if len(own) == len(tokens) == count:
        return tuple(own)
    known: dict[bytes, int] = {}
    shown = [known.setdefault(t.content, len(known)) for t in tokens]
    return (*shown, *range(len(known), len(known) + count - len(shown)))


def _whole(values: Sequence[float | None]) -> tuple[float, ...]:
    """Nothing where any is missing."""
    known = [value for value in values if value is not None]
    return tuple(known) if len(known) == len(values) else ()
