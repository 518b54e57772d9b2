"""Several sampled answers to one prompt, decoded together: the prompt is read once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.engines.generation import Answer, TokenModel, Vocabulary, draft_of, read_prompt
from adaptive_sd.engines.sampling import choose_token
from adaptive_sd.types import Draft, Observer, Sampling


class ForkingModel(TokenModel, Protocol):
    """A model whose running sequence can go on in several ways at once."""

    def fork(self, count: int) -> None:
        """Branches 0 to count - 1 begin as copies of the running sequence."""
        ...

    def extend_branches(self, tokens: Sequence[tuple[int, int]]) -> NDArray[np.float32]:
        """Append (branch, token) pairs in one pass; logits after each, a row a pair."""
        ...

    def drop_branches(self) -> None:
        """Forget all branches; the running sequence stays."""
        ...


def generate_votes(
    model: ForkingModel,
    vocabulary: Vocabulary,
    prompt: Sequence[int],
    sampling: Sampling,
    count: int,
    *,
    chunk: int,
    observer: Observer | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Draft]:
    """`count` answers, the i-th as `generate` gives with seed `sampling.seed + i`.

    They share the context: together with the prompt they must fit it, so each has at most its
    part of what is left. `decode_s` of each is its equal share of the common passes, `prefill_s`
    of the first that of the prompt, of the others 0. `observer` may end them all.
    """
    start_s = clock()
    limit = min(sampling.max_tokens, max(1, (model.size - len(prompt)) // count))
    samplings = [replace(sampling, seed=sampling.seed + i) for i in range(count)]
    answers = [Answer(vocabulary, each, limit, observer) for each in samplings]
    model.start(prompt)
    num_cached = len(model.tokens)
    read_prompt(model, prompt[:-1], chunk, answers[0])
    if answers[0].finish_reason is not None:  # cancelled while it read
        return [draft_of(answers[0], prompt, num_cached, clock() - start_s, 0.0, None)]
    rows, hidden = model.extend_with_hidden([prompt[-1]])
    first_s = clock()
    pending = [
        _choose(rows[0], answer, each) for answer, each in zip(answers, samplings, strict=True)
    ]
    model.fork(count)
    try:
        while running := [i for i in range(count) if answers[i].finish_reason is None]:
            rows = model.extend_branches([(i, pending[i]) for i in running])
            for i, row in zip(running, rows, strict=True):
                pending[i] = _choose(row, answers[i], samplings[i])
    finally:
        model.drop_branches()
    each_s = (clock() - first_s) / count
    return [
        draft_of(answer, prompt, cached, prefill_s, each_s, hidden)
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
