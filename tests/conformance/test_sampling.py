"""Seeds and votes."""

from __future__ import annotations

import pytest

from adaptive_sd.engines.base import Engine
from adaptive_sd.errors import ConfigError
from adaptive_sd.types import Sampling, Verified
from tests.conformance.laws import answer, ask, assert_mostly_same, assert_same, lacking, law
from tests.conformance.subject import Capability, Subject

SEEDS = range(8)


@law(Capability.SEEDS)
def test_a_seed_gives_the_same_answer_again(subject: Subject, engine: Engine) -> None:
    first, again = (
        [
            answer(engine, subject, p, max_tokens=subject.num_drawn, temperature=1.0, seed=s).text
            for p in subject.prompts
            for s in SEEDS
        ]
        for _ in range(2)
    )
    assert_mostly_same(subject, list(zip(first, again, strict=True)))


@lacking(Capability.SEEDS)
def test_without_exact_seeds_no_draft_of_a_sampled_answer_is_verified(
    subject: Subject, engine: Engine
) -> None:
    plain = answer(engine, subject, subject.prompts[0])
    drawn = answer(engine, subject, subject.prompts[0], offer=plain.offer, temperature=0.8)
    assert drawn.verified == Verified() and "draft not verified: " in drawn.remark


@law(Capability.VOTES)
def test_each_vote_is_the_answer_of_its_own_seed(subject: Subject, engine: Engine) -> None:
    pairs = []
    for prompt in subject.prompts:
        sampling = Sampling(subject.num_drawn, temperature=0.8)
        votes = engine.sample(ask(prompt), sampling, SEEDS)
        assert len(votes) == len(SEEDS)
        for seed, vote in zip(SEEDS, votes, strict=True):
            alone = answer(
                engine, subject, prompt, max_tokens=sampling.max_tokens, temperature=0.8, seed=seed
            )
            pairs.append((alone.text, vote.text))
    assert_mostly_same(subject, pairs)


@law(Capability.VOTES)
def test_greedy_votes_are_all_the_greedy_answer(subject: Subject, engine: Engine) -> None:
    for prompt in subject.prompts:
        plain = answer(engine, subject, prompt)
        for vote in engine.sample(ask(prompt), Sampling(subject.max_tokens), range(3)):
            assert_same(subject, plain, vote)


@law(Capability.VOTES)
def test_votes_are_cut_short_once_it_is_decided(subject: Subject, engine: Engine) -> None:
    """By the first that ends; up to there they are what they would have been."""
    for prompt in subject.prompts:
        sampling = Sampling(subject.num_drawn, temperature=1.0)
        whole = engine.sample(ask(prompt), sampling, SEEDS)
        cut = engine.sample(ask(prompt), sampling, SEEDS, is_decided=lambda texts, _: bool(texts))
        assert any(vote.has_ended for vote in cut)
        first = min(vote.num_chosen for vote in cut if vote.has_ended)
        assert all(vote.tokens_out <= first + subject.num_ahead for vote in cut)
        pairs = [
            (w.text if c.has_ended else w.text[: len(c.text)], c.text)
            for w, c in zip(whole, cut, strict=True)
        ]
        assert_mostly_same(subject, pairs)


@law(Capability.VOTES)
@pytest.mark.parametrize("count", [0, 9])
def test_too_few_or_too_many_votes_are_refused(
    subject: Subject, engine: Engine, count: int
) -> None:
    with pytest.raises(ConfigError, match="at once"):
        engine.sample(ask("hello"), Sampling(), range(count))
