"""Ways to answer a prompt with the target, each timed from the call to the whole answer."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from adaptive_sd.engines.alignment import common_prefix
from adaptive_sd.forms import Form
from adaptive_sd.offline.benches.tools import Tool
from adaptive_sd.stage import Stage
from adaptive_sd.types import Acceptance, Draft, Offer, Sampling

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Asked:
    """One prompt as every method gets it, with an earlier stage's draft and how such are accepted.

    `sampling` is greedy and exact.
    """

    prompt: str
    form: Form
    sampling: Sampling
    offer: Offer
    acceptance: Acceptance


@dataclass(frozen=True, slots=True)
class Answered:
    """One method's answer; what a tool does not tell is None or empty.

    `token_margins` (top-1 minus top-2 logit) has one entry for each of `token_ids`. A method that
    is not `exact` means to give another answer than the target's own.
    """

    text: str
    token_ids: tuple[int, ...]
    seconds: float
    num_drafted: int = 0
    num_accepted: int = 0
    num_spans: int | None = None
    token_margins: tuple[float, ...] = ()
    offer: Offer | None = None
    exact: bool = True


Method = Callable[[Asked], Answered]


def plain(stage: Stage, clock: Clock = time.perf_counter) -> Method:
    """The stage alone, token by token."""

    def answer(asked: Asked) -> Answered:
        start_s = clock()
        draft = stage.run(asked.prompt, asked.sampling, form=asked.form)
        return _answered(draft, clock() - start_s)

    return answer


def reuse(stage: Stage, lenience: float = 0.0, clock: Clock = time.perf_counter) -> Method:
    """The stage verifies the draft, as in the live ladder."""

    def answer(asked: Asked) -> Answered:
        sampling = replace(asked.sampling, lenience=lenience)
        start_s = clock()
        draft = stage.run(
            asked.prompt,
            sampling,
            form=asked.form,
            draft=asked.offer,
            acceptance=asked.acceptance,
        )
        return replace(_answered(draft, clock() - start_s), exact=not lenience)

    return answer


def by_tool(tool: Tool, stage: Stage) -> Method:
    """Another tool, given the tokens that the stage would read; it times itself."""

    def answer(asked: Asked) -> Answered:
        tokens = stage.prompt_tokens(asked.prompt, form=asked.form)
        said = tool.answer(tokens, asked.sampling.max_tokens)
        return Answered(
            said.text,
            said.token_ids,
            said.seconds,
            said.num_drafted,
            said.num_accepted,
            said.num_spans,
        )

    return answer


def _answered(draft: Draft, seconds: float) -> Answered:
    verified = draft.verified
    return Answered(
        draft.text,
        draft.token_ids,
        seconds,
        verified.num_drafted,
        verified.num_accepted,
        verified.num_spans,
        draft.token_margins,
        draft.offer,
    )


class Greedy(Protocol):
    """A greedy answer; its margins may be unknown."""

    @property
    def token_ids(self) -> Sequence[int]: ...

    @property
    def token_margins(self) -> Sequence[float]: ...


def divergence_margin(own: Greedy, other: Greedy) -> float | None:
    """Between the two best tokens of `own` where `other` diverges from it; None where it does not.

    Batch shapes change logits a little, so that a near-tie may fall the other way: the margin rule
    takes answers for the same that diverge within twice the noise. Where `own` has ended already
    only the margin of `other` is kept; infinite where none is known.
    """
    at = common_prefix(own.token_ids, other.token_ids)
    if at == len(own.token_ids) == len(other.token_ids):
        return None
    known = [x.token_margins[at] for x in (own, other) if at < len(x.token_margins)]
    return known[0] if known else math.inf
