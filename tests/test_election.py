"""Elections: an early end and votes taken over change what is paid, never who is elected."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.decision.features import DraftView
from adaptive_sd.election import Election, end_early, majority
from adaptive_sd.forms import Form, canonical_answer
from adaptive_sd.types import Draft
from tests.voting import make_vote

answers = st.sampled_from(["", "The answer is 1", "It is 1.0", "The answer is 2", "3"])
votes = st.lists(st.tuples(answers, st.integers(1, 6)), min_size=1, max_size=8).map(
    lambda many: [make_vote(text, length) for text, length in many]
)


def elect(count: int, cast: list[Draft], earlier: Draft | None = None) -> Draft:
    """As the first `count` of these votes would decide, decoded together."""
    held = earlier.votes.drafts if earlier and earlier.votes else ()
    election = Election(Form.NUMBER, count, held)
    return election.result(
        end_early([cast[place] for place in election.missing], election.is_decided)
    )


def answer_of(draft: Draft) -> str:
    return canonical_answer(draft.text, Form.NUMBER)


def num_tokens(draft: Draft) -> int:
    return sum(vote.num_chosen for vote in draft.made)


@given(st.lists(st.sampled_from(["", "a", "b", "c"]), min_size=1, max_size=8))
def test_no_answer_is_more_frequent_than_the_majority(given: list[str]) -> None:
    place, counts = majority(given), Counter(a for a in given if a)
    if not counts:
        assert given[place] == ""
    else:
        assert counts[given[place]] == max(counts.values())
        assert given.index(given[place]) == place


@given(votes)
def test_an_early_end_elects_what_all_votes_would(cast: list[Draft]) -> None:
    elected = elect(len(cast), cast)
    assert answer_of(elected) == answer_of(cast[majority([answer_of(vote) for vote in cast])])
    assert elected.votes is not None and elected.has_ended
    for whole, vote in zip(cast, elected.votes.drafts, strict=True):
        assert vote.num_chosen <= whole.num_chosen
        assert not vote.has_ended or vote.text == whole.text


@given(votes)
def test_whoever_is_cut_short_could_change_nothing(cast: list[Draft]) -> None:
    """Whatever they would have said, even all of them the same."""
    elected = elect(len(cast), cast)
    assert elected.votes is not None
    for other in ("The answer is 2", "The answer is 9", ""):
        changed = [
            canonical_answer(vote.text if vote.has_ended else other, Form.NUMBER)
            for vote in elected.votes.drafts
        ]
        assert changed[majority(changed)] == answer_of(elected)


@given(votes, st.integers(1, 8), st.integers(1, 8))
def test_votes_taken_over_elect_as_all_at_once(cast: list[Draft], few: int, some: int) -> None:
    few, some = sorted(min(n, len(cast)) for n in (few, some))
    first = elect(few, cast)
    then, at_once = elect(some, cast, first), elect(some, cast)
    assert answer_of(then) == answer_of(at_once)
    assert num_tokens(then) <= num_tokens(at_once)
    assert then.votes is not None and first.votes is not None
    for place, vote in enumerate(then.votes.drafts):
        assert not vote.has_ended or vote.text == cast[place].text
        if place < few and first.votes.drafts[place].has_ended:
            assert vote is first.votes.drafts[place]  # neither sampled nor paid again
    last = elect(len(cast), cast, then)
    assert answer_of(last) == answer_of(elect(len(cast), cast))


def test_two_votes_both_end_since_they_tell_whether_they_agree() -> None:
    for texts, share in ((("1", "2"), 0.5), (("1", "1"), 1.0), (("1", ""), 0.5)):
        elected = elect(2, [make_vote(text, 3 * i + 1) for i, text in enumerate(texts)])
        assert num_tokens(elected) == 5
        assert DraftView.of(elected, Form.NUMBER).vote_share == share


def test_the_share_is_of_votes_that_ended() -> None:
    cast = [make_vote("1", 2), make_vote("1", 3), make_vote("2", 9)]
    elected = elect(3, cast)
    assert num_tokens(elected) == 2 + 3 + 3
    assert DraftView.of(elected, Form.NUMBER).vote_share == 1.0
    for draft in (cast[0], elect(2, [make_vote("", 1), make_vote("", 2)])):
        assert DraftView.of(draft, Form.NUMBER).vote_share == 0.0


def test_a_decided_election_needs_no_vote_and_costs_nothing() -> None:
    first = elect(3, [make_vote("1", 2), make_vote("1", 3), make_vote("2", 9)])
    again = elect(3, [], first)
    assert again.text == "1" and again.made == () and again.num_cached == again.tokens_in
    assert again.latency_s == 0


@pytest.mark.parametrize("ended", [0, 1])
def test_votes_that_were_cancelled_before_a_decision_are_no_answer(ended: int) -> None:
    kinds = ["length"] * ended + ["cancelled"] * (3 - ended)
    drafts = [make_vote("1", 2, kind) for kind in kinds]  # type: ignore[arg-type]
    assert Election(Form.NUMBER, 3).result(drafts).finish_reason == "cancelled"
