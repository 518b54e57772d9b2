"""What is kept of prompts: only what two of them share, within the budget."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.engines.prefixes import (
    BUDGET_TOKENS,
    MIN_TOKENS,
    NUM_KEPT,
    PrefixTable,
)
from adaptive_sd.engines.verification import common_prefix

beginnings = st.integers(0, 12).map(lambda kind: [kind] * (MIN_TOKENS + 40 * kind))
prompts = st.tuples(beginnings, st.lists(st.integers(20, 29), min_size=1, max_size=5)).map(
    lambda parts: parts[0] + parts[1]
)


@given(st.lists(prompts, min_size=2, max_size=40))
def test_numbers_and_tokens_stay_within_bounds_and_matches_are_true(asked: list[list[int]]) -> None:
    table, kept = PrefixTable(), {}
    for last, prompt in itertools.pairwise(asked):
        length = table.shared_length(last, prompt)
        table.note(last)
        if length:
            number, dropped = table.keep(last[:length])
            for old in dropped:
                del kept[old]
            assert number not in kept and 1 <= number <= NUM_KEPT
            kept[number] = last[:length]
        assert sum(map(len, kept.values())) <= BUDGET_TOKENS
        match = table.best(prompt)
        longest = max((common_prefix(prompt, tokens) for tokens in kept.values()), default=0)
        assert (match.length if match else 0) == longest


def test_a_prompt_that_nothing_shares_is_not_kept() -> None:
    table = PrefixTable()
    table.note([1] * 100)
    assert table.shared_length([2] * 100, [3] * 100) == 0
    assert table.shared_length([1] * 100, [3] * 100) == 100
