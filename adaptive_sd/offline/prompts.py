"""What text identifies a prompt of an outcome table; prompts drawn by it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.folds import number_groups
from adaptive_sd.prompt import prompt_hash


def prompt_texts(table: OutcomeTable) -> list[str]:
    """Each prompt's text, from whichever of its rows has it; "" where none has."""
    column = table.columns.get("prompt")
    if column is None:
        return [""] * len(table.prompt_ids)
    return [next(filter(None, map(text_of, row)), "") for row in column]


def prompt_hashes(table: OutcomeTable) -> list[str]:
    """Of each prompt's normalised text; "" where the table has none."""
    return [text and prompt_hash(text) for text in prompt_texts(table)]


def prompt_keys(table: OutcomeTable) -> list[str]:
    """What tells a prompt from others: the hash of its text, or its id where it has none."""
    return [
        found or name for found, name in zip(prompt_hashes(table), table.prompt_ids, strict=True)
    ]


def prompt_groups(table: OutcomeTable) -> NDArray[np.int64]:
    """For each prompt a number that it shares with those of equal text; see number_groups."""
    return number_groups(prompt_keys(table))


def hashes_of(table: OutcomeTable) -> tuple[str, ...]:
    """All texts' hashes, sorted."""
    return tuple(sorted({*prompt_hashes(table)} - {""}))


def draw_prompts(
    table: OutcomeTable, share: float, *, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Which prompts are drawn, at least that share of the texts: equal texts stay together."""
    _, group = np.unique(np.array(prompt_keys(table), dtype=object), return_inverse=True)
    num_groups = int(group.max(initial=-1)) + 1
    order = rng.permutation(num_groups)
    return np.asarray(order[group] < math.ceil(share * num_groups))


def one_of_each(table: OutcomeTable, *, rng: np.random.Generator) -> OutcomeTable:
    """One prompt of each text, in an order that tells nothing: they are independent."""
    order = rng.permutation(len(table.prompt_ids))
    _, first = np.unique(prompt_groups(table)[order], return_index=True)
    return table.take(order[np.sort(first)])


def text_of(value: object) -> str:
    """Of a cell of a table; "" where it is empty."""
    return "" if value is None or value != value else str(value)
