"""What a table says that verification takes is what the generation loop does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from adaptive_sd.engines.alignment import DraftTokens
from adaptive_sd.engines.generation import generate
from adaptive_sd.engines.verification import DraftVerifier, simulate_verification
from adaptive_sd.judge import cost_of
from adaptive_sd.types import Acceptance, Draft, Rates, Sampling

END, NUM_VOCAB = 0, 12
LIKELY = Acceptance(0.5, 0.6, 0.3, 0.1, 0.4, -0.5)
RATES = Rates(0.01, 0.1, ((4, 0.2), (16, 0.4), (32, 0.7), (64, 1.2)))


class ScriptedModel:
    """Says `answer` after the prompt; counts passes with logits by their rows."""

    size = 400

    def __init__(self, answer: Sequence[int], prompt_length: int) -> None:
        self._answer = answer
        self._prompt_length = prompt_length
        self.tokens: list[int] = []
        self.passes: list[int] = []

    def start(self, prompt: Sequence[int]) -> None:
        self.tokens = []

    def truncate(self, length: int) -> None:
        del self.tokens[length:]

    def read(self, tokens: Sequence[int]) -> None:
        self.tokens.extend(tokens)

    def extend(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        self.passes.append(len(tokens))
        rows = np.zeros((len(tokens), NUM_VOCAB), dtype=np.float32)
        for i in range(len(tokens)):
            at = len(self.tokens) + i + 1 - self._prompt_length
            rows[i, self._answer[at] if at < len(self._answer) else END] = 9.0
        self.tokens.extend(tokens)
        return rows

    def extend_with_hidden(
        self, tokens: Sequence[int]
    ) -> tuple[NDArray[np.float32], NDArray[np.float16]]:
        return self.extend(tokens), np.zeros(2, dtype=np.float16)


class Words:
    def piece(self, token: int) -> bytes:
        return b"x"

    def is_end(self, token: int) -> bool:
        return token == END


TOKENS = st.lists(st.integers(1, NUM_VOCAB - 1), min_size=1, max_size=90)


def offered(draft: list[int]) -> DraftTokens:
    return DraftTokens(tuple(draft), tuple(0.1 * (token % 9) for token in draft))


def answered(answer: list[int], draft: list[int], limit: int) -> tuple[Draft, ScriptedModel]:
    model = ScriptedModel([*answer, END], prompt_length=3)
    verifier = DraftVerifier(offered(draft), RATES, LIKELY)
    sampling = Sampling(max_tokens=limit)
    return generate(model, Words(), [7, 7, 7], sampling, verifier=verifier, chunk=64), model


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
        real, model = answered(answer, draft, limit)
        passes_s = sum(RATES.pass_s(rows) for rows in model.passes)
        assert cost_of(real, RATES) == pytest.approx(3 * RATES.prefill_s + passes_s)
