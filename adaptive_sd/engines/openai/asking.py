"""One answer from a server: its draft verified where that pays, the rest streamed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from adaptive_sd.engines.alignment import DraftTokens, surety_of
from adaptive_sd.engines.openai.abilities import Abilities
from adaptive_sd.engines.openai.client import Client
from adaptive_sd.engines.openai.dialect import Dialect
from adaptive_sd.engines.openai.faults import Fault
from adaptive_sd.engines.openai.growing import Opening
from adaptive_sd.engines.openai.replies import Delta, Usage, parse_reply
from adaptive_sd.engines.openai.verifying import Verifier
from adaptive_sd.engines.verification import DraftVerifier
from adaptive_sd.types import Acceptance, Message, Offer, Rates, Sampling, Verified

MOST_DRAFTED = 1024
"""Tokens of a draft that one request verifies."""

Push = Callable[[Delta | Opening], None]

_TYPICAL = Rates.linear(0.02, 1.0)
"""Where none are known: a server reads many tokens while it writes one."""

_UNKNOWN = surety_of(float("nan"))
"""How sure the drafting stage was of tokens that are another tokenizer's."""


class Question(NamedTuple):
    """What a stage asks, with all that decides whether its offer is verified."""

    messages: Sequence[Message]
    sampling: Sampling
    offer: Offer | None = None
    rates: Rates | None = None
    acceptance: Acceptance | None = None


class Beginning(NamedTuple):
    """What a verified draft leaves to be generated: from these tokens on, if anything."""

    opening: Opening
    delta: Delta
    token_ids: Sequence[int]
    is_whole: bool = False


async def answer(
    client: Client, dialect: Dialect, abilities: Abilities, question: Question, push: Push
) -> None:
    """Hand over the answer's opening and increments, all of it or up to a Fault that is raised."""
    beginning = await _begin(abilities, question)
    opening = Opening(remark=beginning) if isinstance(beginning, str) else beginning.opening
    push(opening)
    if isinstance(beginning, str) or not opening.num_accepted:
        await _generate(
            client,
            dialect,
            "/chat/completions",
            push,
            lambda: dialect.chat(question.messages, question.sampling),
        )
        return
    push(beginning.delta)
    if beginning.is_whole:
        return
    num_left = question.sampling.max_tokens - opening.num_accepted
    sampling = replace(question.sampling, max_tokens=num_left)
    await _generate(
        client,
        dialect,
        "/completions",
        push,
        lambda: dialect.completion(beginning.token_ids, sampling),
    )


async def _generate(
    client: Client, dialect: Dialect, path: str, push: Push, body: Callable[[], dict[str, Any]]
) -> None:
    is_whole = False

    def take(document: Any) -> None:
        nonlocal is_whole
        delta = parse_reply(document)
        is_whole = is_whole or delta.finish is not None
        push(delta)

    try:
        await client.ask(path, body(), take, wait_s=dialect.first_byte_s)
    except Fault as fault:
        if not dialect.learn(fault):
            raise
        return await _generate(client, dialect, path, push, body)
    if not is_whole:
        raise Fault("ended its answer before it was whole")


async def _begin(abilities: Abilities, question: Question) -> Beginning | str:
    """What verification gave, or why the trace shows none."""
    offer, sampling = question.offer, question.sampling
    if offer is None or not offer.text:
        return ""
    if abilities.verifier is None:
        return f"draft not verified: {abilities.why_not}"
    if sampling.temperature:
        return "draft not verified: a server's draws cannot be repeated"
    try:
        return await _verify(abilities.verifier, question, offer)
    except Fault as fault:
        return f"draft not verified: the server {fault.text}"


async def _verify(verifier: Verifier, question: Question, offer: Offer) -> Beginning | str:
    sampling = question.sampling
    drafted = await verifier.tokens(offer.text)
    span = worth_verifying(drafted, question)
    if not span:
        return "draft not verified: that would cost more than it saves"
    prompt = await verifier.prompt(question.messages)
    checked = await verifier.check(prompt, span, sampling.lenience)
    num_accepted, text = len(checked.accepted), offer.text
    if num_accepted < len(drafted):
        num_accepted, text = await _text_of(verifier, drafted, num_accepted, offer.text)
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


def worth_verifying(drafted: Sequence[int], question: Question) -> Sequence[int]:
    """The first tokens of the draft that are expected to save more than they cost."""
    verifier = DraftVerifier(
        DraftTokens(tuple(drafted), (_UNKNOWN,) * len(drafted)),
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
    verifier: Verifier, drafted: Sequence[int], num_accepted: int, text: str
) -> tuple[int, str]:
    """So many of the accepted tokens that they are a beginning of the draft's text, and that.

    A token may end inside a character.
    """
    for count in range(num_accepted, max(0, num_accepted - 4), -1):
        beginning = await verifier.text(drafted[:count])
        if text.startswith(beginning):
            return count, beginning
    return 0, ""
