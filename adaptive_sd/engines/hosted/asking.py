"""One answer of a hosted model: its draft verified where that pays, the rest streamed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

from adaptive_sd.engines.alignment import DraftTokens
from adaptive_sd.engines.hosted.deltas import Delta, Usage
from adaptive_sd.engines.hosted.growing import Opening
from adaptive_sd.engines.hosted.verifying import Failure, Verifier
from adaptive_sd.engines.verification import DraftVerifier
from adaptive_sd.types import Acceptance, Message, Offer, Rates, Sampling, Verified

MOST_DRAFTED = 1024
"""Tokens of a draft that one request verifies."""

Push = Callable[[Delta | Opening], None]

_TYPICAL = Rates.linear(0.02, 1.0)
"""Where none are known: a server reads many tokens while it writes one."""


class Question(NamedTuple):
    """What a stage asks, with all that decides whether its offer is verified."""

    messages: Sequence[Message]
    sampling: Sampling
    offer: Offer | None = None
    rates: Rates | None = None
    acceptance: Acceptance | None = None

    @property
    def num_bytes(self) -> int:
        return sum(len(message.content.encode()) for message in self.messages)


class Beginning(NamedTuple):
    """What a verified draft leaves to be generated: from these tokens on, if anything."""

    opening: Opening
    delta: Delta
    token_ids: Sequence[int]
    is_whole: bool = False


class Host(Protocol):
    """Runs the model: hands over the increments of an answer, or raises Failure."""

    @property
    def verifier(self) -> Verifier | None: ...

    @property
    def why_not(self) -> str:
        """The reason, where there is no verifier."""
        ...

    async def chat(self, messages: Sequence[Message], sampling: Sampling, push: Push) -> None: ...

    async def go_on(self, token_ids: Sequence[int], sampling: Sampling, push: Push) -> None:
        """After the tokens of a chat and of the beginning of its answer."""
        ...


async def answer(host: Host, question: Question, push: Push) -> None:
    """Hand over the answer's opening and increments, all of it or up to a Failure."""
    beginning = await _begin(host, question)
    opening = Opening(remark=beginning) if isinstance(beginning, str) else beginning.opening
    push(opening)
    if isinstance(beginning, str) or not opening.num_accepted:
        await host.chat(question.messages, question.sampling, push)
        return
    push(beginning.delta)
    if not beginning.is_whole:
        num_left = question.sampling.max_tokens - opening.num_accepted
        sampling = replace(question.sampling, max_tokens=num_left)
        await host.go_on(beginning.token_ids, sampling, push)


async def _begin(host: Host, question: Question) -> Beginning | str:
    """What verification gave, or why the trace shows none."""
    offer, sampling = question.offer, question.sampling
    if offer is None or not offer.text:
        return ""
    if host.verifier is None:
        return f"draft not verified: {host.why_not}"
    if sampling.temperature:
        return "draft not verified: a server's draws cannot be repeated"
    try:
        return await _verify(host.verifier, question, offer)
    except Failure as failure:
        return f"draft not verified: the server {failure.text}"


async def _verify(verifier: Verifier, question: Question, offer: Offer) -> Beginning | str:
    sampling = question.sampling
    draft = await verifier.draft(offer)
    drafted = draft.token_ids
    span = worth_verifying(draft, question)
    if not span:
        return "draft not verified: that would cost more than it saves"
    prompt = await verifier.prompt(question.messages)
    checked = await verifier.check(prompt, span, sampling.lenience)
    num_accepted, text = await _text_of(verifier, drafted, len(checked.accepted))
    ended = checked.ended and num_accepted == len(drafted)
    is_full = num_accepted == sampling.max_tokens
    opening = Opening(
        tokens_in=len(prompt),
        num_accepted=num_accepted,
        verified=Verified(
            num_drafted=len(span),
            num_accepted=num_accepted,
            num_chosen=num_accepted + ended,
            span_rows=(len(span) + 1,),
        ),
    )
    finish = "length" if is_full else "stop" if ended else None
    is_whole = finish is not None or any(stop in text for stop in sampling.stop)
    counted = Usage(len(prompt), int(ended)) if is_whole else None
    return Beginning(
        opening,
        Delta(text, checked.accepted[:num_accepted], finish, usage=counted),
        [*prompt, *drafted[:num_accepted]],
        is_whole,
    )


def worth_verifying(draft: DraftTokens, question: Question) -> Sequence[int]:
    """The first tokens of the draft that are expected to save more than they cost."""
    verifier = DraftVerifier(
        draft,
        _rates_here(question.rates or _TYPICAL),
        question.acceptance,
        max_rows=MOST_DRAFTED,
    )
    return verifier.propose(question.sampling.max_tokens)


def _rates_here(rates: Rates) -> Rates:
    """With a verifying pass as it is here: the token that it gives is thrown away, made again."""
    again_s = rates.decode_s
    passes = [(2, rates.pass_s(2)), *(each for each in rates.verify_s if each[0] > 2)]
    return replace(rates, verify_s=tuple((rows, pass_s + again_s) for rows, pass_s in passes))


async def _text_of(
    verifier: Verifier, drafted: Sequence[int], num_accepted: int
) -> tuple[int, str]:
    """So many of the accepted tokens that they are a beginning of the draft's text, and that.

    Of the text that its tokens spell: a tokenizer may normalise what it reads. A token may end
    inside a character.
    """
    if not num_accepted:
        return 0, ""
    text = await verifier.text(drafted)
    if num_accepted == len(drafted):
        return num_accepted, text
    for count in range(num_accepted, max(0, num_accepted - 4), -1):
        beginning = await verifier.text(drafted[:count])
        if text.startswith(beginning):
            return count, beginning
    return 0, ""
