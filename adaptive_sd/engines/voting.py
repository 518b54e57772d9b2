"""Several sampled answers to one prompt, decoded together: the prompt is read once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.engines.generation import Answer, Vocabulary, draft_of, read_prompt
from adaptive_sd.engines.passes import Piece, Steps, TokenSequence
from adaptive_sd.engines.sampling import choose_token
from adaptive_sd.types import Draft, Observer, Sampling


def generate_votes(
    sequence: TokenSequence,
    vocabulary: Vocabulary,
    prompt: Sequence[int],
    sampling: Sampling,
    count: int,
    *,
    observer: Observer | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Steps[list[Draft]]:
    """`count` answers, the i-th as `generate` gives with seed `sampling.seed + i`.

    They share the sequence's room: together with the prompt they must fit it, so each has at most
    its part of what is left. `decode_s` of each is its equal share of the common passes,
    `prefill_s` of the first that of the prompt, of the others 0. `observer` may end them all.
    """
    start_s = clock()
    limit = min(sampling.max_tokens, max(1, (sequence.size - len(prompt)) // count))
    samplings = [replace(sampling, seed=sampling.seed + i) for i in range(count)]
    answers = [Answer(vocabulary, each, limit, observer) for each in samplings]
    sequence.start(prompt)
    num_cached = len(sequence.tokens)
    yield from read_prompt(sequence, prompt[:-1], answers[0])
    if answers[0].finish_reason is not None:  # cancelled while it read
        return [draft_of(answers[0], prompt, num_cached, clock() - start_s, 0.0, None)]
    (first,) = yield [Piece(sequence, prompt[-1:], hidden=True)]
    first_s = clock()
    pending = [
        _choose(first.logits[0], answer, each)
        for answer, each in zip(answers, samplings, strict=True)
    ]
    branches = sequence.fork(count)
    try:
        while running := [i for i in range(count) if answers[i].finish_reason is None]:
            rows = yield [Piece(branches[i], [pending[i]]) for i in running]
            for i, (logits, _) in zip(running, rows, strict=True):
                pending[i] = _choose(logits[0], answers[i], samplings[i])
    finally:
        sequence.drop_branches()
    each_s = (clock() - first_s) / count
    return [
        draft_of(answer, prompt, cached, prefill_s, each_s, first.hidden)
        for answer, cached, prefill_s in zip(
            answers,
            [num_cached] + [len(prompt)] * (count - 1),
            [first_s - start_s] + [0.0] * (count - 1),
            strict=True,
        )
    ]


def _choose(row: NDArray[np.float32], answer: Answer, sampling: Sampling) -> int:
    choice = choose_token(row, sampling, len(answer.choices))
    answer.add(choice)
    return choice.token
