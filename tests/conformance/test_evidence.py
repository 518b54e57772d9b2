"""What an engine tells of its tokens: chances, entropies, margins and a hidden state."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from adaptive_sd.engines.base import Engine
from tests.conformance.laws import answer, lacking, law
from tests.conformance.subject import Capability, Subject

TOLERANCE = 1e-3


@law(Capability.LOGPROBS)
def test_each_token_has_its_log_probability(subject: Subject, engine: Engine) -> None:
    for prompt in subject.prompts:
        for temperature in (0.0, 1.0):
            draft = answer(engine, subject, prompt, temperature=temperature)
            assert len(draft.token_logprobs) == draft.tokens_out > 0
            assert all(-math.inf < logprob <= 0 for logprob in draft.token_logprobs)


@law(Capability.LOGPROBS, Capability.SEEDS)
def test_a_token_is_drawn_as_often_as_its_natural_log_says(
    subject: Subject, engine: Engine
) -> None:
    """Within five standard deviations, on the first token of each prompt; no sum is above 1."""
    if not subject.is_random:
        pytest.skip("its answers are no draws")
    num_draws = 4 * subject.num_examples
    for prompt in subject.prompts:
        drafts = [
            answer(engine, subject, prompt, max_tokens=1, temperature=1.0, seed=seed)
            for seed in range(num_draws)
        ]
        counts = Counter(draft.token_ids for draft in drafts if draft.token_ids)
        chances = {d.token_ids: math.exp(d.token_logprobs[0]) for d in drafts if d.token_ids}
        assert sum(chances.values()) <= 1 + TOLERANCE
        for token, chance in chances.items():
            deviation = math.sqrt(num_draws * chance * (1 - chance))
            assert abs(counts[token] - num_draws * chance) <= 5 * deviation + 1


@lacking(Capability.LOGPROBS)
def test_without_log_probabilities_there_are_none(subject: Subject, engine: Engine) -> None:
    draft = answer(engine, subject, subject.prompts[0])
    assert draft.tokens_out > 0 and draft.token_logprobs == () == draft.token_ends


@law(Capability.MARGINS, Capability.LOGPROBS)
def test_entropies_and_margins_fit_the_chances(subject: Subject, engine: Engine) -> None:
    """A greedy token is the likeliest, the next comes by the margin after it, and both fit in 1."""
    for prompt in subject.prompts:
        draft = answer(engine, subject, prompt)
        for values in (draft.token_entropies, draft.token_margins):
            assert len(values) == draft.tokens_out and min(values) >= 0
        for logprob, margin in zip(draft.token_logprobs, draft.token_margins, strict=True):
            assert math.exp(logprob) + math.exp(logprob - margin) <= 1 + TOLERANCE


@lacking(Capability.MARGINS)
def test_without_margins_there_are_none(subject: Subject, engine: Engine) -> None:
    draft = answer(engine, subject, subject.prompts[0])
    assert draft.token_margins == draft.token_entropies == ()


@law(Capability.HIDDEN)
def test_the_hidden_state_is_the_prompts(subject: Subject, engine: Engine) -> None:
    prompt = subject.prompts[0]
    short, long = (answer(engine, subject, prompt, max_tokens=n).hidden for n in (1, 9))
    assert short is not None and long is not None
    assert short.shape == long.shape == (engine.info.hidden_width,)
    assert short.dtype == np.float16 and np.isfinite(short).all()
    assert short.astype(float) == pytest.approx(long.astype(float), abs=0.02, rel=0.02)


@lacking(Capability.HIDDEN)
def test_without_hidden_states_their_width_is_0(subject: Subject, engine: Engine) -> None:
    assert engine.info.hidden_width == 0
    assert answer(engine, subject, subject.prompts[0]).hidden is None
