"""Elections: an early end and votes taken over change what is paid, never who is elected."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.decision.features import DraftView, PromptView
from adaptive_sd.election import Election, end_early, majority
from adaptive_sd.forms import Form, canonical_answer
from adaptive_sd.offline.verification import further_votes
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


def evidence_of(draft: Draft) -> tuple[object, ...]:
    """All that a judge and a later stage see of it."""
    assert draft.votes is not None
    votes = [(v.text, v.token_ids, v.finish_reason) for v in draft.votes.drafts]
    share = DraftView.of(draft, PromptView(Form.NUMBER)).vote_share
    return draft.text, draft.token_ids, draft.finish_reason, share, votes


@given(votes, st.lists(st.integers(1, 8), min_size=1, max_size=3).map(sorted))
def test_votes_taken_over_change_what_is_paid_and_nothing_else(
    cast: list[Draft], counts: list[int]
) -> None:
    """Whatever the stages before it were: so recordings of each alone tell of every path."""
    then = None
    for count in (min(n, len(cast)) for n in counts):
        then, before = elect(count, cast, then), then
        at_once = elect(count, cast)
        assert evidence_of(then) == evidence_of(at_once)
        assert num_tokens(then) <= num_tokens(at_once)
        ended = [] if before is None else [v for v in before.votes.drafts if v.has_ended]  # type: ignore[union-attr]
        assert not any(vote is held for vote in then.made for held in ended)
        assert [v.num_chosen for v in then.made] == further_votes(
            before or Draft("", (), (), (), (), "stop", 0, 0.0, 0.0), at_once, Form.NUMBER
        )


def test_two_votes_both_end_since_they_tell_whether_they_agree() -> None:
    for texts, share in ((("1", "2"), 0.5), (("1", "1"), 1.0), (("1", ""), 0.5)):
        elected = elect(2, [make_vote(text, 3 * i + 1) for i, text in enumerate(texts)])
        assert num_tokens(elected) == 5
        assert DraftView.of(elected, PromptView(Form.NUMBER)).vote_share == share


def test_the_share_is_of_votes_that_ended() -> None:
    cast = [make_vote("1", 2), make_vote("1", 3), make_vote("2", 9)]
    elected = elect(3, cast)
    assert num_tokens(elected) == 2 + 3 + 3
    assert DraftView.of(elected, PromptView(Form.NUMBER)).vote_share == 1.0
    for draft in (cast[0], elect(2, [make_vote("", 1), make_vote("", 2)])):
        assert DraftView.of(draft, PromptView(Form.NUMBER)).vote_share == 0.0


def test_an_election_that_holds_all_votes_costs_nothing() -> None:
    first = elect(3, [make_vote("1", 2), make_vote("2", 3), make_vote("1", 9)])
    again = elect(3, [], first)
    assert again.text == "1" and again.made == () and again.num_cached == again.tokens_in
    assert again.latency_s == 0


def test_where_a_caller_ended_votes_nothing_is_decided_by_what_ended_later() -> None:
    first = elect(2, [make_vote("1", 9), make_vote("1", 9)])
    assert first.votes is not None
    election = Election(Form.NUMBER, 3, first.votes.drafts)
    assert election.result([make_vote("", 4, "cancelled")]).finish_reason == "cancelled"
    assert election.result([make_vote("", 9, "cancelled")]).text == "1"


@pytest.mark.parametrize("ended", [0, 1])
def test_votes_that_were_cancelled_before_a_decision_are_no_answer(ended: int) -> None:
    kinds = ["length"] * ended + ["cancelled"] * (3 - ended)
    drafts = [make_vote("1", 2, kind) for kind in kinds]  # type: ignore[arg-type]
    assert Election(Form.NUMBER, 3).result(drafts).finish_reason == "cancelled"
