"""What the runs of the draft bench say: sums, ratios to plain generation, quality, sameness."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.calibration import Interval
from adaptive_sd.offline.benches.draft import PromptRun
from adaptive_sd.offline.benches.methods import Answered, divergence_margin
from adaptive_sd.offline.bootstrap import paired_difference, ratio_of_means, ratio_of_rates

T = TypeVar("T")

ALL_SETS = "all"


@dataclass(frozen=True, slots=True)
class MethodSummary:
    """One method on the prompts of a set that it answered, against plain generation on the same.

    Intervals are paired 95 % bootstrap intervals over prompts. `ratio` is its seconds over those of
    plain generation, the prompt read beforehand; `ratio_with_prompt` adds the reading of the prompt
    to both; `ratio_per_token` is of seconds a token, since answers differ in length.
    `identical_share` of the answers are plain generation's token by token, `same_share` are up to
    the margin rule; None without a noise, or where the method is not exact. Quality is None where
    no prompt was graded, `num_spans` where the tool does not tell.
    """

    name: str
    num_prompts: int
    seconds: float
    ratio: Interval
    ratio_with_prompt: Interval
    ratio_per_token: Interval
    num_tokens: int
    num_drafted: int
    num_accepted: int
    num_spans: int | None
    quality: float | None
    quality_difference: Interval | None
    identical_share: float
    same_share: float | None


@dataclass(frozen=True, slots=True)
class AgreeingSummary:
    """The target's own first 64 tokens, verified over generated, on the answers that have them."""

    num_prompts: int
    generated_s: float
    verified_s: float
    ratio: Interval
    num_drafted: int
    num_accepted: int
    num_spans: int


@dataclass(frozen=True, slots=True)
class SetSummary:
    """All methods on one set; `draft_s` and `prompt_s` are in no method's seconds.

    `near_tie_share` of all tokens of plain generation have a margin at which the margin rule takes
    a divergence for noise: what a method's `same_share` is worth. None without a noise.
    """

    name: str
    num_prompts: int
    num_graded: int
    draft_s: float
    num_draft_tokens: int
    prompt_s: float
    near_tie_share: float | None
    methods: tuple[MethodSummary, ...]
    agreeing: AgreeingSummary | None


def summarise(
    runs: Sequence[PromptRun], noise: float | None, *, rng: np.random.Generator
) -> list[SetSummary]:
    """By set, and all together where there are several.

    `noise` is the 99th percentile of what batch shapes do to a margin of this target
    (experiments/kernel_noise.py); None where it was not measured.
    """
    by_set: dict[str, list[PromptRun]] = {}
    for run in runs:
        by_set.setdefault(run.task.dataset, []).append(run)
    if len(by_set) > 1:
        by_set[ALL_SETS] = list(runs)
    tie = None if noise is None else 2 * noise
    return [_summarise_set(name, own, tie, rng) for name, own in by_set.items()]


def _summarise_set(
    name: str, runs: Sequence[PromptRun], tie: float | None, rng: np.random.Generator
) -> SetSummary:
    margins = np.concatenate([run.answers["plain"].token_margins for run in runs])
    methods = dict.fromkeys(method for run in runs for method in run.answers)
    return SetSummary(
        name=name,
        num_prompts=len(runs),
        num_graded=sum(_is_graded(run, "plain") for run in runs),
        draft_s=sum(run.draft_s for run in runs),
        num_draft_tokens=sum(run.draft_tokens for run in runs),
        prompt_s=sum(run.prompt_s for run in runs),
        near_tie_share=None if tie is None else float((margins <= tie).mean()),
        methods=tuple(_summarise_method(method, runs, tie, rng) for method in methods),
        agreeing=_summarise_agreeing(runs, rng),
    )


def _summarise_method(
    name: str, runs: Sequence[PromptRun], tie: float | None, rng: np.random.Generator
) -> MethodSummary:
    runs = [run for run in runs if name in run.answers]
    graded = [run for run in runs if _is_graded(run, name)]
    answers = [run.answers[name] for run in runs]
    plain = [run.answers["plain"] for run in runs]
    ours, theirs = _column(answers, _seconds), _column(plain, _seconds)
    our_tokens, their_tokens = _column(answers, _num_ended), _column(plain, _num_ended)
    prompt_s = _column(runs, lambda run: run.prompt_s)
    spans = [answer.num_spans for answer in answers]
    margins = [divergence_margin(a, b) for a, b in zip(plain, answers, strict=True)]
    quality = _column(graded, lambda run: run.qualities[name])
    plain_quality = _column(graded, lambda run: run.qualities["plain"])
    return MethodSummary(
        name=name,
        num_prompts=len(runs),
        seconds=float(ours.sum()),
        ratio=ratio_of_means(ours, theirs, rng=rng),
        ratio_with_prompt=ratio_of_means(ours + prompt_s, theirs + prompt_s, rng=rng),
        ratio_per_token=ratio_of_rates(ours, our_tokens, theirs, their_tokens, rng=rng),
        num_tokens=sum(len(answer.token_ids) for answer in answers),
        num_drafted=sum(answer.num_drafted for answer in answers),
        num_accepted=sum(answer.num_accepted for answer in answers),
        num_spans=None if None in spans else sum(n for n in spans if n is not None),
        quality=float(quality.mean()) if graded else None,
        quality_difference=paired_difference(quality, plain_quality, rng=rng) if graded else None,
        identical_share=float(np.mean([margin is None for margin in margins])),
        same_share=None
        if tie is None or not all(answer.exact for answer in answers)
        else float(np.mean([margin is None or margin <= tie for margin in margins])),
    )


def _is_graded(run: PromptRun, method: str) -> bool:
    return all(run.qualities[name] is not None for name in (method, "plain"))


def _summarise_agreeing(
    runs: Sequence[PromptRun], rng: np.random.Generator
) -> AgreeingSummary | None:
    pairs = [run.agreeing for run in runs if run.agreeing is not None]
    if not pairs:
        return None
    generated = _column(pairs, lambda pair: pair.generated.seconds)
    verified = _column(pairs, lambda pair: pair.verified.seconds)
    return AgreeingSummary(
        num_prompts=len(pairs),
        generated_s=float(generated.sum()),
        verified_s=float(verified.sum()),
        ratio=ratio_of_means(verified, generated, rng=rng),
        num_drafted=sum(pair.verified.num_drafted for pair in pairs),
        num_accepted=sum(pair.verified.num_accepted for pair in pairs),
        num_spans=sum(pair.verified.num_spans or 0 for pair in pairs),
    )


def _seconds(answer: Answered) -> float:
    return answer.seconds


def _num_ended(answer: Answered) -> float:
    """Tokens with the end of turn, so that an empty answer has one."""
    return len(answer.token_ids) + 1


def _column(items: Sequence[T], value: Callable[[T], float | None]) -> NDArray[np.float64]:
    return np.array([value(item) for item in items], dtype=np.float64)
