"""Several sampled answers of a hosted model: requests side by side, one for each seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from adaptive_sd.engines.hosted.asking import Question
from adaptive_sd.engines.hosted.growing import Growing
from adaptive_sd.engines.sampling import check_votes
from adaptive_sd.types import Draft, IsDecided, Message, Observer, Progress, Sampling, Work


class Collect(Protocol):
    """As adaptive_sd.engines.hosted.collecting.collect, on an engine's own loop."""

    def __call__(
        self,
        questions: Sequence[Question],
        answers: Sequence[Growing],
        is_decided: IsDecided | None = None,
    ) -> None: ...


def sample(
    collect: Collect,
    messages: Sequence[Message],
    sampling: Sampling,
    seeds: Sequence[int],
    is_decided: IsDecided | None,
    observer: Observer | None,
    *,
    reads_cache: bool = False,
) -> list[Draft]:
    """See Engine.sample, and Growing for `reads_cache`.

    The observer sees the work on all of them, and no text. They do not keep pace with each other:
    `is_decided` is told of the tokens that the slowest has come to.
    The model reads the prompt once, by its cache of prefixes: `prefill_s` and the prompt's tokens
    are the first one's, and each has its equal share of the seconds after.
    """
    check_votes(len(seeds))
    answers: list[Growing] = []

    def watch(seen: Progress) -> bool:
        return observer is None or observer(Progress("", 0, (), _work(answers, seen.work)))

    questions = [Question(messages, replace(sampling, seed=seed)) for seed in seeds]
    answers += [
        Growing(each.sampling, watch, each.num_bytes, reads_cache=reads_cache) for each in questions
    ]
    collect(questions, answers, is_decided)
    drafts = [answer.draft() for answer in answers]
    prefill_s = drafts[0].prefill_s
    whole_s = max(draft.latency_s for draft in drafts)
    each_s = (whole_s - prefill_s) / len(drafts)
    first = replace(drafts[0], decode_s=each_s)
    return [
        first,
        *(
            replace(draft, prefill_s=0.0, decode_s=each_s, num_cached=draft.tokens_in)
            for draft in drafts[1:]
        ),
    ]


def _work(answers: Sequence[Growing], seen: Work) -> Work:
    """The prompt, and passes that give a token to each answer that has not ended."""
    counts = [answer.num_seen for answer in answers]
    running = (sum(n > step for n in counts) for step in range(max(counts)))
    return Work(seen.num_read, Counter(running))
