"""Answers decoded together are those decoded one by one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.election import Election, end_early
from adaptive_sd.engines.llama_cpp import LlamaCppEngine
from adaptive_sd.engines.voting import generate_votes
from adaptive_sd.errors import ContextOverflowError
from adaptive_sd.forms import Form
from adaptive_sd.types import Draft, IsDecided, Message, Sampling
from tests.engines.asking import ask
from tests.engines.fake_cache import FakeCache, drive


def test_the_prompt_is_read_and_paid_once(tiny: LlamaCppEngine) -> None:
    first, *others = tiny.sample(ask("hello"), Sampling(max_tokens=5, temperature=1.0), range(4))
    assert first.prefill_s > 0 and all(vote.prefill_s == 0 for vote in others)
    assert all(vote.num_cached == vote.tokens_in == first.tokens_in for vote in others)


def test_votes_leave_the_running_sequence_as_it_was(tiny: LlamaCppEngine) -> None:
    before = tiny.generate(ask("hello"), Sampling(max_tokens=20))
    tiny.sample(ask("hello"), Sampling(max_tokens=20, temperature=1.0), range(5))
    again = tiny.generate(ask("hello"), Sampling(max_tokens=20))
    assert again.text == before.text and again.num_cached == again.tokens_in - 1


def test_votes_share_the_context(tiny: LlamaCppEngine) -> None:
    room = tiny.info.context
    votes = tiny.sample(
        ask("a" * (room // 2)), Sampling(max_tokens=room, temperature=1.0), range(4)
    )
    assert sum(vote.tokens_out for vote in votes) + votes[0].tokens_in <= room
    with pytest.raises(ContextOverflowError):
        tiny.sample(ask("a" * room), Sampling(), range(2))


def test_a_cancelled_vote_ends_all(tiny: LlamaCppEngine) -> None:
    seen: list[int] = []

    def observe(progress: object) -> bool:
        seen.append(1)
        return len(seen) < 8

    sampling = Sampling(max_tokens=200, temperature=1.0)
    votes: list[Draft] = tiny.sample(ask("hello"), sampling, range(3), observer=observe)
    assert "cancelled" in {vote.finish_reason for vote in votes}
    assert tiny.generate([Message("user", "hello")], Sampling(max_tokens=3)).tokens_out <= 3


Asked = tuple[int, list[int], float, int]
asked = st.tuples(
    st.integers(0, 50),
    st.lists(st.integers(0, 4), min_size=1, max_size=6),
    st.floats(0.2, 2.0),
    st.integers(1, 8),
)


def vote_on(asked: Asked, seeds: list[int], is_decided: IsDecided | None = None) -> list[Draft]:
    seed, prompt, temperature, _ = asked
    cache = FakeCache(seed, size=400)
    sampling = Sampling(max_tokens=25, temperature=temperature)
    return drive(
        cache,
        generate_votes(cache.slots[0], cache, prompt, sampling, seeds, is_decided=is_decided),
    )


def first_letters(count: int) -> IsDecided:
    """The majority of so many votes by first letter."""
    election = Election(Form.NUMBER, count)
    return lambda texts, num_tokens: election.is_decided(
        [str(ord(t[0])) if t else "" for t in texts], num_tokens
    )


@given(asked)
def test_votes_end_as_soon_as_it_is_decided(asked: Asked) -> None:
    count = asked[-1]
    whole, is_decided = vote_on(asked, list(range(count))), first_letters(count)
    wanted = end_early(whole, is_decided)
    found = vote_on(asked, list(range(count)), is_decided)
    for vote, other in zip(found, wanted, strict=True):
        assert (vote.token_ids, vote.finish_reason) == (other.token_ids, other.finish_reason)
        assert not vote.has_ended or vote.text == other.text


@given(asked, st.integers(1, 7))
def test_votes_sampled_in_two_goes_are_those_of_one(asked: Asked, few: int) -> None:
    places = list(range(asked[-1]))
    together = vote_on(asked, places)
    apart = [vote for part in (places[:few], places[few:]) if part for vote in vote_on(asked, part)]
    for vote, other in zip(together, apart, strict=True):
        assert (vote.text, vote.token_ids) == (other.text, other.token_ids)


def test_further_votes_find_the_prompt_in_the_cache(tiny: LlamaCppEngine) -> None:
    sampling = Sampling(max_tokens=10, temperature=1.0)
    tiny.sample(ask("hello"), sampling, [0, 1])
    further = tiny.sample(ask("hello"), sampling, [2, 3, 4])
    assert further[0].num_cached == further[0].tokens_in - 1
    plain = tiny.generate(ask("hello"), Sampling(max_tokens=3))
    assert plain.num_cached == plain.tokens_in - 1
