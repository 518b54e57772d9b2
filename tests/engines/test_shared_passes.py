"""Requests that share their passes: a draft makes nobody wait for longer than it saves."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest

from adaptive_sd.engines.alignment import DraftTokens
from adaptive_sd.engines.generation import generate
from adaptive_sd.engines.passes import Piece, Rows
from adaptive_sd.engines.scheduling import Request, Scheduler
from adaptive_sd.engines.verification import TYPICAL_RATES, DraftVerifier
from adaptive_sd.types import Sampling
from tests.engines.fake_cache import FakeCache
from tests.engines.test_scheduling import ManualWorker

END, FIRST, NUM_VOCAB = 0, 78, 200
LENGTH = 60


class ScriptedCache(FakeCache):
    """Says the i-th answer after the prompt [i]."""

    def __init__(self, answers: Sequence[Sequence[int]]) -> None:
        super().__init__(0, size=200, num_slots=len(answers))
        self._answers = answers

    def _append(self, piece: Piece) -> Rows:
        known = piece.sequence.tokens
        known.extend(piece.tokens)
        answer = self._answers[known[0]]
        rows = np.zeros((len(piece.tokens), NUM_VOCAB), np.float32)
        for row, at in zip(rows, range(len(known) - len(rows), len(known)), strict=True):
            row[answer[at] if at < len(answer) else END] = 9.0
        return Rows(rows, np.zeros(1, np.float16) if piece.hidden else None)

    def piece(self, token: int) -> bytes:
        return b"x"

    def is_end(self, token: int) -> bool:
        return token == END


def seconds(answers: Sequence[Sequence[int]], drafts: Sequence[Sequence[int]]) -> float:
    """Of all passes at typical rates, with every request there from the beginning."""
    cache, worker = ScriptedCache(answers), ManualWorker()
    scheduler = Scheduler(cache, worker, name="fake", max_waiting=0)
    futures = []
    for i, draft in enumerate(drafts):
        tokens = DraftTokens(tuple(draft), (0.5,) * len(draft))
        begin = partial(
            generate,
            vocabulary=cache,
            prompt=[i],
            sampling=Sampling(max_tokens=100),
            verifier=DraftVerifier(tokens, TYPICAL_RATES, None),
            beside=scheduler.rows_beside,
        )
        futures.append(scheduler.submit(Request([i], begin)))
    worker.run()
    assert [list(future.result(0).token_ids) for future in futures] == list(map(list, answers))
    return sum(TYPICAL_RATES.pass_s(sum(n for _, n, _ in of_pass)) for of_pass in cache.passes)


def total(num_requests: int, agreement: float, with_drafts: list[bool]) -> tuple[float, float]:
    """Seconds with drafts, of which such a share of the tokens agrees, and without."""
    drafted_s = plain_s = 0.0
    for seed in range(1 + 12 // num_requests):
        rng = np.random.default_rng(seed)
        answers = rng.integers(FIRST, NUM_VOCAB, (num_requests, LENGTH))
        others = rng.integers(FIRST, NUM_VOCAB, answers.shape)
        drafts = np.where(rng.random(answers.shape) < agreement, answers, others).tolist()
        offered = [d if given else () for d, given in zip(drafts, with_drafts, strict=True)]
        drafted_s += seconds(answers.tolist(), offered)
        plain_s += seconds(answers.tolist(), [()] * num_requests)
    return drafted_s, plain_s


@pytest.mark.parametrize("agreement", [0.3, 0.9, 1.0])
@pytest.mark.parametrize("num_requests", [1, 2, 3, 4, 6, 8, 12, 16])
def test_drafts_cost_next_to_nothing_however_many_share_the_passes(
    num_requests: int, agreement: float
) -> None:
    drafted_s, plain_s = total(num_requests, agreement, [True] * num_requests)
    assert drafted_s <= 1.02 * plain_s
    if agreement == 1.0 and num_requests in (1, 2, 6, 8):  # where a row more is cheap
        assert drafted_s < 0.85 * plain_s


@pytest.mark.parametrize("num_requests", [2, 4, 8, 16])
def test_one_request_with_a_draft_holds_up_nobody(num_requests: int) -> None:
    drafted_s, plain_s = total(num_requests, 1.0, [True, *[False] * (num_requests - 1)])
    assert drafted_s <= 1.02 * plain_s
