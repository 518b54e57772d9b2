"""What a table says that verification takes is what the generation loop does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive_sd.engines.alignment import DraftTokens
from adaptive_sd.engines.generation import generate
from adaptive_sd.engines.passes import Piece, Rows
from adaptive_sd.engines.verification import DraftVerifier, simulate_verification
from adaptive_sd.judge import cost_of
from adaptive_sd.types import Acceptance, Draft, Rates, Sampling
from tests.engines.fake_cache import FakeCache, drive

END, NUM_VOCAB = 0, 12
LIKELY = Acceptance(0.5, 0.6, 0.3, 0.1, 0.4, -0.5)
RATES = Rates(0.01, 0.1, ((4, 0.2), (16, 0.4), (32, 0.7), (64, 1.2)))


class ScriptedCache(FakeCache):
    """Says `answer` after the prompt; a word is any token but END."""

    def __init__(self, answer: Sequence[int], prompt_length: int) -> None:
        super().__init__(0, size=400)
        self._answer = answer
        self._prompt_length = prompt_length

    def _append(self, piece: Piece) -> Rows:
        known = piece.sequence.tokens
        rows = np.zeros((len(piece.tokens) if piece.logits else 0, NUM_VOCAB), np.float32)
        for i, row in enumerate(rows, start=len(known) + 1 - self._prompt_length):
            row[self._answer[i] if i < len(self._answer) else END] = 9.0
        known.extend(piece.tokens)
        return Rows(rows, np.zeros(2, np.float16) if piece.hidden else None)

    def piece(self, token: int) -> bytes:
        return b"x"

    def is_end(self, token: int) -> bool:
        return token == END


TOKENS = st.lists(st.integers(1, NUM_VOCAB - 1), min_size=1, max_size=90)


def offered(draft: list[int]) -> DraftTokens:
    return DraftTokens(tuple(draft), tuple(0.1 * (token % 9) for token in draft))


def answered(answer: list[int], draft: list[int], limit: int) -> tuple[Draft, ScriptedCache]:
    cache = ScriptedCache([*answer, END], prompt_length=3)
    verifier = DraftVerifier(offered(draft), RATES, LIKELY)
    sampling = Sampling(max_tokens=limit)
    return drive(
        cache, generate(cache.slots[0], cache, [7, 7, 7], sampling, verifier=verifier)
    ), cache


@settings(max_examples=150, deadline=None)
@given(TOKENS, TOKENS, st.integers(0, 90), st.integers(1, 100))
def test_a_simulated_verification_is_the_real_one(
    answer: list[int], tail: list[int], num_shared: int, limit: int
) -> None:
    draft = [*answer[:num_shared], *tail, END]
    real, _ = answered(answer, draft, limit)
    chosen = [*real.token_ids, *([END] if real.finish_reason == "stop" else [])]
    simulated = simulate_verification(offered(draft), chosen, limit, RATES, LIKELY)
    assert simulated == real.verified


@settings(max_examples=150, deadline=None)
@given(TOKENS, TOKENS, st.integers(0, 90), st.integers(1, 100))
def test_the_modelled_cost_of_an_answer_is_that_of_its_passes(
    answer: list[int], tail: list[int], num_shared: int, limit: int
) -> None:
    for draft in ([], [*answer[:num_shared], *tail, END]):
        real, cache = answered(answer, draft, limit)
        passes = [rows for of_pass in cache.passes for _, rows, logits in of_pass if logits]
        passes_s = sum(map(RATES.pass_s, passes))
        assert cost_of(real, RATES) == pytest.approx(3 * RATES.prefill_s + passes_s)
