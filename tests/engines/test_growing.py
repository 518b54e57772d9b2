"""What an answer of a hosted model has learned of its tokens when it ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.engines.hosted.deltas import Delta, Usage, token_of
from adaptive_sd.engines.hosted.growing import Growing
from adaptive_sd.types import Draft, Progress, Sampling


def answered(finish: str, *contents: bytes) -> Draft:
    """Text as vLLM gives it in process: a character comes once it is whole."""
    tokens = [token_of(each, -0.1, [-0.1, -3.0], number) for number, each in enumerate(contents)]
    text = b"".join(contents).decode(errors="ignore")
    growing = Growing(Sampling(len(contents)), None, 9)
    growing.add(Delta(text, tokens, finish, usage=Usage(1, len(contents))))
    return growing.draft()


@pytest.mark.parametrize("contents", [(b"ab", b"c"), (b"ab", b"\xc3"), (b"\xe6", b"\xbc")])
def test_an_answer_that_is_cut_inside_a_character_has_all_of_its_tokens(
    contents: tuple[bytes, ...],
) -> None:
    draft = answered("length", *contents)
    assert draft.token_ids == (0, 1) and draft.tokens_out == 2
    assert len(draft.token_margins) == len(draft.token_ends) == 2
    assert draft.token_ends[-1] == len(draft.text.encode())


def test_an_answer_that_ends_by_itself_is_without_the_token_that_ended_it() -> None:
    draft = answered("stop", b"ab", b"c", b"")
    assert draft.token_ids == (0, 1) and draft.tokens_out == 2
    assert draft.token_ends == (2, 3)


@given(
    words=st.lists(st.sampled_from(["a", "b c", ", ", "é", "\U0001f642", "END"]), min_size=1),
    lengths=st.lists(st.integers(1, 5), min_size=30),
    most=st.integers(1, 12),
)
def test_where_an_answer_is_cut_does_not_depend_on_how_its_tokens_come(
    words: list[str], lengths: list[int], most: int
) -> None:
    """One by one or several at once: cut after the same token, with what was shown and no more."""

    def cut(lengths: list[int]) -> tuple[Draft, str]:
        shown = []

        def watch(progress: Progress) -> bool:
            shown.append(progress.new_text)
            return progress.num_tokens < most

        growing = Growing(Sampling(99, stop=("END",)), watch, 9)
        left = [token_of(word.encode(), -0.1, [-0.1, -3.0], i) for i, word in enumerate(words)]
        for length in lengths:
            if left and growing.is_awaited:
                now, left = left[:length], left[length:]
                growing.add(Delta(b"".join(token.content for token in now).decode(), now))
        growing.cut()
        return growing.draft(), "".join(shown)

    one_by_one, shown = cut([1] * len(words))
    together, shown_together = cut([*lengths, len(words)])
    assert shown == shown_together == one_by_one.text == together.text
    assert one_by_one.token_ids == together.token_ids
    assert one_by_one.finish_reason == together.finish_reason
    if "END" not in words:
        assert together.text == "".join(words[:most]) and together.tokens_out <= most


def test_an_answer_that_is_here_whole_is_not_cut() -> None:
    """Like a draft that was accepted to its end: all of it is paid."""
    growing = Growing(Sampling(99), lambda _: False, 9)
    tokens = [token_of(word.encode(), -0.1, [-0.1, -3.0], i) for i, word in enumerate("abc")]
    growing.add(Delta("abc", tokens, "stop", usage=Usage(1, 3)))
    assert growing.draft().text == "abc" and growing.finish_reason == "stop"


@pytest.mark.parametrize("shown", ["", "ab"])
def test_tokens_are_counted_one_by_one_also_where_their_text_lags(shown: str) -> None:
    """A server holds text back that may begin a stop string; what it counted runs ahead."""
    seen = []

    def watch(progress: Progress) -> bool:
        seen.append((progress.num_tokens, progress.new_text))
        return progress.num_tokens < 2

    growing = Growing(Sampling(99), watch, 9)
    tokens = [token_of(word.encode(), -0.1, [-0.1, -3.0], i) for i, word in enumerate("abc")]
    growing.add(Delta(shown, tokens, usage=Usage(1, 3)))
    assert seen == [(1, ""), (2, "")] and growing.finish_reason == "cancelled"
    draft = growing.draft()
    assert (draft.text, draft.token_ids, draft.tokens_in) == ("", (0, 1), 1)
