"""Several sampled answers to one prompt, decoded together: the prompt is read once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.engines.generation import Answer, Meter, Vocabulary, draft_of, read_prompt
from adaptive_sd.engines.passes import Piece, Steps, TokenSequence
from adaptive_sd.engines.sampling import choose_token
from adaptive_sd.types import Draft, IsDecided, Observer, Sampling


def generate_votes(
    sequence: TokenSequence,
    vocabulary: Vocabulary,
    prompt: Sequence[int],
    sampling: Sampling,
    seeds: Sequence[int],
    *,
    is_decided: IsDecided | None = None,
    observer: Observer | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Steps[list[Draft]]:
    """An answer for each seed, as `generate` gives with that one.

    They share the sequence's room: together with the prompt they must fit it, so each has at most
    its part of what is left. `decode_s` of each is its equal share of the common passes,
    `prefill_s` of the first that of the prompt, of the others 0. They are cut short ("cancelled")
    once `is_decided` by the texts of those that have ended, or by `observer`.
    """
    start_s = clock()
    count = len(seeds)
    limit = min(sampling.max_tokens, max(1, (sequence.size - len(prompt)) // count))
    samplings = [replace(sampling, seed=seed) for seed in seeds]
    meter = Meter()
    answers = [Answer(vocabulary, each, limit, observer, meter) for each in samplings]
    num_cached = yield from read_prompt(sequence, prompt, answers[0])
    hidden: NDArray[np.float16] | None = None
    if answers[0].finish_reason is not None:  # cancelled while it read
        _cut_short(answers)
        first_s = clock()
    else:
        (first,) = yield [Piece(sequence, prompt[-1:], hidden=True)]
        meter.num_read += 1
        hidden, first_s = first.hidden, clock()
        yield from _decode(sequence, first.logits[0], answers, samplings, is_decided)
    each_s = (clock() - first_s) / count
    tokens_in = num_cached + meter.num_read
    return [
        draft_of(answer, tokens_in, cached, prefill_s, each_s, hidden)
        for answer, cached, prefill_s in zip(
            answers,
            [num_cached] + [tokens_in] * (count - 1),
            [first_s - start_s] + [0.0] * (count - 1),
            strict=True,
        )
    ]


def _decode(
    sequence: TokenSequence,
    first: NDArray[np.float32],
    answers: Sequence[Answer],
    samplings: Sequence[Sampling],
    is_decided: IsDecided | None,
) -> Steps[None]:
    """Passes of one token of every answer that runs, from the prompt's last row of logits on."""
    count, meter = len(answers), answers[0].meter
    meter.passes[count] += 1  # the prompt's last row gives each its first token
    pending = [_choose(first, answers[i], samplings[i]) for i in range(count)]
    branches = sequence.fork(count)
    try:
        while running := [i for i in range(count) if answers[i].finish_reason is None]:
            if _is_over(answers, len(answers[running[0]].choices), is_decided):
                _cut_short(answers)
                break
            rows = yield [Piece(branches[i], [pending[i]]) for i in running]
            meter.passes[len(running)] += 1
            for i, (logits, _) in zip(running, rows, strict=True):
                pending[i] = _choose(logits[0], answers[i], samplings[i])
    finally:
        sequence.drop_branches()


def _is_over(answers: Sequence[Answer], num_tokens: int, is_decided: IsDecided | None) -> bool:
    """Whether the observer has ended one, and so all, or no further one can change anything.

    Those that run have come to `num_tokens`.
    """
    if any(answer.finish_reason == "cancelled" for answer in answers):
        return True
    if is_decided is None:
        return False
    return is_decided([a.text for a in answers if a.finish_reason], num_tokens)


def _cut_short(answers: Sequence[Answer]) -> None:
    for answer in answers:
        if answer.finish_reason is None:
            answer.finish("cancelled")


def _choose(row: NDArray[np.float32], answer: Answer, sampling: Sampling) -> int:
    choice = choose_token(row, sampling, len(answer.choices))
    answer.add(choice)
    return choice.token
