"""The outcome table: one row for each prompt and stage, in Parquet or CSV, whoever wrote it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from adaptive_sd.data.columns import SPLITS, TEXTS, Columns, Texts
from adaptive_sd.data.table_files import read_table, write_table
from adaptive_sd.errors import DataError
from adaptive_sd.stage_record import StageRecord

_REQUIRED = ("prompt_id", "stage", "stage_index", "quality", "cost")
TOKENS = ("token_ids", "draft_ids_after_", "draft_sureties_after_")
"""Columns, by how their names begin, that only a fit and costs at other rates look at."""
_METADATA_KEY = b"adaptive_sd"
_VERSION = 1


@dataclass(frozen=True, slots=True, eq=False)
class OutcomeTable:
    """Outcomes of N prompts on K stages, cheapest first; rows sorted by prompt and stage.

    quality, cost (N, K). `columns` holds every other column as an array (N, K) or, for lists, an
    object array. Prompts with a row that was not graded are left out and counted. Quality is what
    graders gave, or agreement with the answers of the stage `agreement_with`.
    """

    stages: tuple[StageRecord, ...]
    prompt_ids: tuple[str, ...]
    quality: NDArray[np.float64]
    cost: NDArray[np.float64]
    columns: Mapping[str, NDArray[np.generic]]
    num_left_out: int
    agreement_with: str | None = None

    def is_fit(self) -> NDArray[np.bool_] | None:
        """Which prompts the column `split` gives to fit on; None where the table has none.

        Raises DataError for another value, and where stages of one prompt differ.
        """
        column = self.columns.get("split")
        if column is None:
            return None
        good = np.isin(column.astype(str), SPLITS).all(axis=1)
        good &= (column == column[:, :1]).all(axis=1)
        if not good.all():
            n = int(np.argmin(good))
            raise DataError(
                f"split of prompt {self.prompt_ids[n]!r} is {', '.join(map(repr, column[n]))}; "
                "it must be 'fit' or 'test', the same for all stages."
            )
        return np.asarray(column[:, 0] == "fit")

    def complete(self, name: str) -> NDArray[np.generic]:
        """A column, (N, K), that is needed; raises DataError where it or a value is missing."""
        values = self.columns.get(name)
        if values is None:
            raise DataError(f"the table has no column {name!r}, which this needs.")
        is_empty = [v is None or (isinstance(v, float) and v != v) for v in values.ravel().tolist()]
        if any(is_empty):
            n, k = divmod(is_empty.index(True), len(self.stages))
            raise DataError(
                f"{name} of {self.prompt_ids[n]!r} at stage {self.stages[k].name!r} is empty, and "
                "this needs it."
            )
        return values

    def take(self, rows: NDArray[np.int64]) -> OutcomeTable:
        """Some prompts of the table."""
        return replace(
            self,
            prompt_ids=tuple(self.prompt_ids[n] for n in rows),
            quality=self.quality[rows],
            cost=self.cost[rows],
            columns={name: values[rows] for name, values in self.columns.items()},
        )


def write_outcomes(table: pa.Table, stages: tuple[StageRecord, ...], path: Path) -> None:
    """Write a Parquet or CSV file (by suffix) whole or not at all; CSV keeps only stages' names.

    Raises DataError where it cannot be written or has columns that CSV cannot hold.
    """
    described = [stage.to_json() for stage in stages]
    metadata = {_METADATA_KEY: json.dumps({"version": _VERSION, "stages": described}).encode()}
    write_table(table.replace_schema_metadata(metadata), path)


def read_outcomes(
    path: Path, *, without: tuple[str, ...] = (), ungraded: bool = False
) -> OutcomeTable:
    """Raises DataError naming the file, and the column, row and value that cannot be used.

    With `ungraded` no prompt is left out, and quality is nan where none was given.

    Lists take most of a large table's memory: those whose names begin with one of `without` are
    left in the file.
    """
    table = read_table(path, texts=TEXTS, without=without)
    metadata = table.schema.metadata or {}
    columns = _columns(path, table)
    del table  # columns let go of what they have given
    ids, names = columns.texts("prompt_id"), columns.texts("stage")
    index = columns.numbers("stage_index").astype(np.int64)
    quality, cost = columns.numbers("quality"), columns.numbers("cost")
    num_stages = int(index.max()) + 1
    order = _order(path, ids, index, num_stages)
    shape = (-1, num_stages)
    stage_names = _stage_names(path, names, order.reshape(shape))
    kept = ungraded | ~np.isnan(quality[order]).reshape(shape).any(axis=1)
    num_left_out = int((~kept).sum())
    order = order.reshape(shape)[kept]
    columns.check_parts()
    others = [name for name in columns.names if name not in _REQUIRED]
    return OutcomeTable(
        stages=_stages(path, metadata, stage_names),
        prompt_ids=tuple(ids.values[code] for code in ids.codes[order[:, 0]].tolist()),
        quality=quality[order],
        cost=cost[order],
        columns={name: columns.take(name, index)[order] for name in others},
        num_left_out=num_left_out,
    )


def _columns(path: Path, table: pa.Table) -> Columns:
    columns = Columns(path, table)
    for name in _REQUIRED:
        if name not in columns.names:
            raise DataError(f"{path}: column {name!r} is missing; needed: {', '.join(_REQUIRED)}.")
    if table.num_rows == 0:
        raise DataError(f"{path}: it has no rows.")
    return columns


def _order(path: Path, ids: Texts, index: NDArray[np.int64], num_stages: int) -> NDArray[np.int64]:
    """Rows of the file by prompt and stage; each pair has to be there once."""
    sorted_ids = sorted(range(len(ids.values)), key=ids.values.__getitem__)
    rank = np.empty(len(sorted_ids), dtype=np.int64)
    rank[sorted_ids] = np.arange(len(sorted_ids))
    places = rank[ids.codes] * num_stages + index
    order = np.argsort(places, kind="stable")
    places = places[order]

    def name(place: int) -> str:
        return ids.values[sorted_ids[place // num_stages]]

    if (twice := places[1:] == places[:-1]).any():
        place = int(places[int(np.argmax(twice))])
        raise DataError(
            f"{path}: prompt {name(place)!r} has stage {place % num_stages} twice; a table has one "
            "row for each prompt and stage."
        )
    expected = np.arange(len(places))
    if (missing := places != expected).any() or len(places) < len(rank) * num_stages:
        place = int(np.argmax(missing)) if missing.any() else len(places)
        raise DataError(
            f"{path}: prompt {name(place)!r} has no row for stage {place % num_stages}; leave the "
            "prompt out, or give it a row of empty quality."
        )
    return order


def _stage_names(path: Path, names: Texts, order: NDArray[np.int64]) -> list[str]:
    """One name for each stage; `order` (num_prompts, num_stages) holds rows of the file."""
    codes = names.codes[order]
    for k in range(codes.shape[1]):
        if (codes[:, k] != codes[0, k]).any():
            found = sorted(names.values[code] for code in np.unique(codes[:, k]))
            raise DataError(f"{path}: stage_index {k} has names {found[:3]}; give it one.")
    found = [names.values[code] for code in codes[0]]
    if len(set(found)) != len(found):
        raise DataError(f"{path}: two stages have one name; rename one: {', '.join(found)}.")
    return found


def _stages(
    path: Path, metadata: Mapping[bytes, bytes], names: list[str]
) -> tuple[StageRecord, ...]:
    raw = metadata.get(_METADATA_KEY)
    if raw is None:
        return tuple(StageRecord(name) for name in names)
    try:
        described = json.loads(raw)
        version = described["version"]
        stages = tuple(StageRecord.from_json(stage) for stage in described["stages"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path}: its description of the stages is damaged ({error}).") from error
    if version != _VERSION:
        raise DataError(f"{path}: version {version!r:.20}; this program reads {_VERSION}.")
    if [stage.name for stage in stages] != names:
        raise DataError(f"{path}: it describes other stages than its rows: {', '.join(names)}.")
    return stages
