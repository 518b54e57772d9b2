"""Halves: the table's own, or seeded ones that keep equal prompts together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adaptive_sd.data.outcomes import OutcomeTable, StageRecord
from adaptive_sd.errors import DataError
from adaptive_sd.offline.replay.halves import num_shared, split


def table_of(num_prompts: int, **columns: list[object]) -> OutcomeTable:
    rng = np.random.default_rng(0)
    return OutcomeTable(
        stages=(StageRecord("a"), StageRecord("b")),
        prompt_ids=tuple(f"p{n}" for n in range(num_prompts)),
        quality=rng.random((num_prompts, 2)).round(),
        cost=np.tile([1.0, 4.0], (num_prompts, 1)),
        columns={
            name: np.array([[v, v] for v in values], dtype=object)
            for name, values in columns.items()
        },
        num_left_out=0,
    )


def test_the_tables_own_halves_are_used() -> None:
    table = table_of(80, split=["fit"] * 60 + ["test"] * 20)
    parts = split(table, seed=5)
    assert parts.own and parts.fit.tolist() == list(range(60))
    assert table.take(parts.test).prompt_ids[0] == "p60"


@pytest.mark.parametrize("value", ["train", None, "Fit", 1.0])
def test_another_split_is_refused(value: object) -> None:
    with pytest.raises(DataError, match=r"split of prompt 'p7' is .* must be 'fit' or 'test'"):
        split(table_of(80, split=["fit"] * 7 + [value] + ["test"] * 72), seed=0)


def test_a_prompt_in_both_halves_at_once_is_refused() -> None:
    table = table_of(80, split=["fit"] * 60 + ["test"] * 20)
    table.columns["split"][3, 1] = "test"
    with pytest.raises(DataError, match="'p3' is 'fit', 'test'"):
        split(table, seed=0)


def test_seeded_halves_are_halves_and_depend_on_the_seed() -> None:
    table = table_of(120)
    one, same, other = (split(table, seed=seed) for seed in (1, 1, 2))
    assert not one.own and len(one.fit) == len(one.test) == 60
    assert sorted([*one.fit, *one.test]) == list(range(120))
    assert one.fit.tolist() == same.fit.tolist() != other.fit.tolist()


def test_seeded_halves_keep_equal_prompts_together() -> None:
    texts = [f"Prompt {n // 3}" + " " * (n % 3) for n in range(240)]
    table = table_of(240, prompt=texts)
    parts = split(table, seed=0)
    assert {n // 3 for n in parts.fit}.isdisjoint({n // 3 for n in parts.test})
    assert num_shared(table, parts) == 0


def test_prompts_of_both_own_halves_are_counted() -> None:
    texts = [f"prompt {n}" for n in range(78)] + ["PROMPT  3", "prompt 4"]
    table = table_of(80, prompt=texts, split=["fit"] * 60 + ["test"] * 20)
    assert num_shared(table, split(table, seed=0)) == 2


def test_tables_without_prompts_share_none() -> None:
    table = table_of(120)
    assert num_shared(table, split(table, seed=0)) == 0
    empty = table_of(120, prompt=[None] * 120)
    assert len(split(empty, seed=0).fit) == 60 and num_shared(empty, split(empty, seed=0)) == 0


@pytest.mark.parametrize("num_fit", [49, 79, 80])
def test_too_few_prompts_of_a_half_are_refused(num_fit: int) -> None:
    halves = ["fit"] * num_fit + ["test"] * (80 - num_fit)
    with pytest.raises(DataError, match="needs 50 and 2"):
        split(table_of(80, split=halves), seed=0)


def test_equal_texts_that_leave_no_halves_are_named() -> None:
    """More of them would not help."""
    one = table_of(110, prompt=["What is 2 + 2?"] * 110)
    with pytest.raises(
        DataError, match=r"110 .* and 0 to test on, since equal texts .* only 1 diff"
    ):
        split(one, seed=0)
    two = table_of(90, prompt=[f"What is 2 + {n % 2}?" for n in range(90)])
    with pytest.raises(DataError, match=r"45 .* and 45 to test on, since equal .* only 2 differ;"):
        split(two, seed=0)
    with pytest.raises(DataError, match="40 to test on; a replay"):
        split(table_of(80, prompt=[f"prompt {n}" for n in range(80)]), seed=0)


def test_taking_rows_takes_them_of_every_column() -> None:
    table = table_of(80, prompt=[f"t{n}" for n in range(80)])
    some = replace(table, num_left_out=3).take(np.array([5, 2]))
    assert some.columns["prompt"][:, 0].tolist() == ["t5", "t2"] and some.num_left_out == 3
