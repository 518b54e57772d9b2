"""What an answer of a hosted model has learned of its tokens when it ends."""

from __future__ import annotations

import pytest

from adaptive_sd.engines.hosted.deltas import Delta, Usage, token_of
from adaptive_sd.engines.hosted.growing import Growing
from adaptive_sd.types import Draft, Sampling


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
