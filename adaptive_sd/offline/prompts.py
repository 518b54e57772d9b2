"""What text identifies a prompt of an outcome table."""

from __future__ import annotations

from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.data.tasks import prompt_hash


def prompt_texts(table: OutcomeTable) -> list[str]:
    """Each prompt's text, from whichever of its rows has it; "" where none has."""
    column = table.columns.get("prompt")
    if column is None:
        return [""] * len(table.prompt_ids)
    return [next(filter(None, map(_text, row)), "") for row in column]


def prompt_hashes(table: OutcomeTable) -> list[str]:
    """Of each prompt's normalised text; "" where the table has none."""
    return [text and prompt_hash(text) for text in prompt_texts(table)]


def _text(value: object) -> str:
    return "" if value is None or value != value else str(value)
