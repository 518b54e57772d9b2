"""A table of one row for each prompt and a few columns for each model, as RouterBench has it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from adaptive_sd.data.columns import MAX_COST
from adaptive_sd.data.table_files import read_table
from adaptive_sd.decision.fit_table import MAX_STAGES
from adaptive_sd.errors import DataError

_MODEL = "{model}"


@dataclass(frozen=True, slots=True)
class WideColumns:
    """Names of the columns; those of a model are patterns that hold {model}.

    `prompt`, `category` and `answer` may be missing in the file.
    """

    prompt_id: str = "sample_id"
    prompt: str = "prompt"
    category: str = "eval_name"
    quality: str = "{model}"
    cost: str = "{model}|total_cost"
    answer: str = "{model}|model_response"


def import_wide(
    path: Path, columns: WideColumns, models: Sequence[str] | None = None
) -> tuple[pa.Table, list[str]]:
    """The outcome table and its stages, cheapest first: by mean cost, or as `models` says.

    Without `models`, every model that has a column of costs, up to MAX_STAGES. A quality that is
    missing was not graded. Raises DataError naming the file, the column, the row and the value.
    """
    table = read_table(path, [columns.prompt_id, columns.prompt, columns.category])
    for name in ("quality", "cost", "answer"):
        if _MODEL not in getattr(columns, name):
            raise DataError(
                f"the pattern of {name} is {getattr(columns, name)!r}; it needs {_MODEL}."
            )
    found = list(models) if models else _models(path, table, columns)
    for name in [columns.prompt_id, *_of_models(columns, found)]:
        if name not in table.column_names:
            raise DataError(
                f"{path}: no column {name!r}; it has {', '.join(table.column_names)}. "
                "`adaptive-sd import wide --help` has the options that name columns."
            )
    _check_ids(path, columns.prompt_id, _texts(table, columns.prompt_id))
    if not models:
        found.sort(key=lambda model: float(np.nansum(_cost(path, table, columns, model))))
    if len(found) > MAX_STAGES:
        raise DataError(
            f"{path}: {len(found)} models; a ladder has at most {MAX_STAGES} stages. Name those to "
            f"take with --models, of: {', '.join(found)}."
        )
    parts = [_part(path, table, columns, k, model) for k, model in enumerate(found)]
    return pa.concat_tables(parts), found


def _models(path: Path, table: pa.Table, columns: WideColumns) -> list[str]:
    before, after = columns.cost.split(_MODEL, 1)
    found = [
        name[len(before) : len(name) - len(after)]
        for name in table.column_names
        if name.startswith(before) and name.endswith(after) and len(name) > len(before + after)
    ]
    if not found:
        raise DataError(
            f"{path}: no column is called like {columns.cost!r}; it has "
            f"{', '.join(table.column_names)}. Say how with --cost."
        )
    return found


def _of_models(columns: WideColumns, models: Sequence[str]) -> list[str]:
    return [p.replace(_MODEL, m) for m in models for p in (columns.quality, columns.cost)]


def _cost(path: Path, table: pa.Table, columns: WideColumns, model: str) -> Any:
    return _numbers(path, table, columns.cost, model, MAX_COST)


def _part(path: Path, table: pa.Table, columns: WideColumns, index: int, model: str) -> pa.Table:
    """The rows of one stage."""
    quality = _numbers(path, table, columns.quality, model, 1.0)
    cost = _cost(path, table, columns, model)
    graded_free = np.flatnonzero(~np.isnan(quality) & np.isnan(cost))
    if graded_free.size:
        row = graded_free[0] + 1
        raise DataError(f"{path}: row {row}: {model} has a quality and no cost.")
    values: dict[str, Any] = {
        "prompt_id": _texts(table, columns.prompt_id),
        "stage": [model] * table.num_rows,
        "stage_index": [index] * table.num_rows,
        "quality": pa.array(quality, from_pandas=True),
        "cost": np.nan_to_num(cost, nan=0.0),  # an ungraded prompt is left out, with its cost
    }
    optional = {"prompt": columns.prompt, "category": columns.category}
    optional["answer"] = columns.answer.replace(_MODEL, model)
    values |= {n: _texts(table, c) for n, c in optional.items() if c in table.column_names}
    return pa.table(values)


def _numbers(path: Path, table: pa.Table, pattern: str, model: str, most: float) -> Any:
    """A column of a model, from 0 to `most`; NaN where it is empty."""
    name = pattern.replace(_MODEL, model)
    column = table[name].combine_chunks()
    try:
        kind = pa.int8() if pa.types.is_boolean(column.type) else pa.float64()
        values = column.cast(kind).cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowException as error:
        first = (str(error).splitlines() or [""])[0][:200]
        raise DataError(f"{path}: column {name!r} does not hold numbers ({first}).") from error
    bad = np.flatnonzero(~np.isnan(values) & ~((values >= 0) & (values <= most)))
    if bad.size:
        raise DataError(
            f"{path}: row {bad[0] + 1}: {name!r} is {values[bad[0]]:g}; "
            f"it must be from 0 to {most:g}."
        )
    return values


def _check_ids(path: Path, name: str, ids: Sequence[str | None]) -> None:
    seen: set[str] = set()
    for row, prompt_id in enumerate(ids, start=1):
        if not prompt_id or prompt_id in seen:
            what = "comes twice" if prompt_id else "is empty"
            raise DataError(f"{path}: row {row}: {name} {prompt_id!r:.40} {what}.")
        seen.add(prompt_id)


def _texts(table: pa.Table, name: str) -> list[str | None]:
    values = table[name].to_pylist()
    return [v if v is None or isinstance(v, str) else json.dumps(v, default=str) for v in values]
