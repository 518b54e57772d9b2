"""Sampled answers of a ladder: stages draw apart, so escalating chooses no draws."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.cascade import Cascade, Request
from adaptive_sd.decision.policies import Choice, Evidence
from adaptive_sd.engines.alignment import DraftTokens
from adaptive_sd.engines.generation import generate
from adaptive_sd.engines.passes import Piece, Rows
from adaptive_sd.engines.verification import DraftVerifier
from adaptive_sd.forms import Form
from adaptive_sd.prompt import Prompt
from adaptive_sd.types import Acceptance, Decision, Draft, Observer, Offer, Rates, Sampling
from tests.engines.fake_cache import FakeCache, drive
from tests.engines.margin import EAGER
from tests.test_cascade import ScriptedJudge, cascade_of, engines_of

FREE = Rates(0.1, 1.0, ((64, 1.0),))
"""A row more takes no longer."""


def seeds_of(request: Request) -> list[int]:
    engines = engines_of()
    cascade_of((0, 1, 2), 2, engines).answer("a question", request)
    return [engine.calls[0][1].seed for engine in engines]


@given(st.integers(0, 2**63 - 1))
def test_stages_that_draw_have_draws_of_their_own(seed: int) -> None:
    drawn = seeds_of(Request(temperature=1.0, seed=seed))
    assert drawn == seeds_of(Request(temperature=1.0, seed=seed))
    others = seeds_of(Request(temperature=1.0, seed=seed ^ 1))
    assert len({*drawn, *others}) == 6 and all(0 <= s < 2**63 for s in drawn)
    assert seeds_of(Request(seed=seed)) == [seed] * 3  # greedy, as recorded


class CoinStage:
    """A model whose every token is one of two, with even chances; verifies what it is offered."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(
        self,
        prompt: Prompt,
        sampling: Sampling,
        *,
        form: Form | None = None,
        draft: Offer | None = None,
        acceptance: Acceptance | None = None,
        observer: Observer | None = None,
    ) -> Draft:
        drafted = () if draft is None else tuple(map(int, draft.text))
        verifier = DraftVerifier(DraftTokens(drafted, (0.5,) * len(drafted)), FREE, EAGER)
        cache = CoinCache(0)
        steps = generate(cache.slots[0], cache, [0], sampling, verifier=verifier, observer=observer)
        return drive(cache, steps)

    def token_limit(self, prompt: Prompt, form: Form) -> int:
        return 3

    def warm_up(self) -> None: ...

    def close(self) -> None: ...


class CoinCache(FakeCache):
    """Its two tokens are the digits 0 and 1."""

    def _append(self, piece: Piece) -> Rows:
        piece.sequence.tokens.extend(piece.tokens)
        return Rows(np.zeros((len(piece.tokens), 2), np.float32), np.zeros(1, np.float16))

    def piece(self, token: int) -> bytes:
        return b"01"[token : token + 1]


class Suspicious(ScriptedJudge):
    """Escalates from a first draft that begins with a 1."""

    def decide(self, evidence: Evidence, lam: float) -> Choice:
        held = evidence.held
        goes_on = not held or (len(held) == 1 and held[0].answer.startswith("1"))
        decision = Decision.ESCALATE if goes_on else Decision.STOP
        return Choice(decision, len(held) - (not goes_on), (0.5,) * len(held))


def test_an_answer_after_an_escalation_is_distributed_as_the_targets_own() -> None:
    """Which drafts escalate does not tell what the target draws, verified or not."""
    cascade = Cascade([CoinStage("small"), CoinStage("large")], Suspicious((), 0))
    counts: Counter[str] = Counter()
    verified = 0
    for seed in range(1600):
        answer = cascade.answer("toss", Request(temperature=1.0, seed=seed))
        if answer.stage_index == 1:
            counts[answer.text] += 1
            verified += answer.trace[-1].num_drafted
    total = counts.total()
    assert 700 < total < 900 and verified > total  # half escalate, and drafts are verified
    assert len(counts) == 8
    chi_square = sum((n - total / 8) ** 2 / (total / 8) for n in counts.values())
    assert chi_square < 24.3  # of 7 degrees of freedom: one in a thousand
