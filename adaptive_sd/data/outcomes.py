"""The outcome table: one row for each prompt and stage, in Parquet or CSV, whoever wrote it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from adaptive_sd.errors import DataError
from adaptive_sd.types import StageRecord

_REQUIRED = ("prompt_id", "stage", "stage_index", "quality", "cost")
_BOUNDS = {
    "stage_index": "0 for the cheapest stage, 1 for the next and so on",
    "quality": "from 0 to 1, or empty when it was not graded",
    "cost": "a number, at least 0",
}
_METADATA_KEY = b"adaptive_sd"
_VERSION = 1


@dataclass(frozen=True, slots=True, eq=False)
class OutcomeTable:
    """Outcomes of N prompts on K stages, cheapest first; rows sorted by prompt and stage.

    quality, cost (N, K). `columns` holds every other column as an array (N, K) or, for lists, an
    object array. Prompts with a row that was not graded are left out and counted.
    """

    stages: tuple[StageRecord, ...]
    prompt_ids: tuple[str, ...]
    quality: NDArray[np.float64]
    cost: NDArray[np.float64]
    columns: Mapping[str, NDArray[np.generic]]
    num_left_out: int

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
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    table = table.replace_schema_metadata(metadata)
    nested = [f.name for f in table.schema if pa.types.is_nested(f.type)]
    if path.suffix == ".csv" and nested:
        raise DataError(f"{path}: CSV cannot hold {', '.join(nested)}; write a .parquet file.")
    try:
        if path.suffix == ".csv":
            pa.csv.write_csv(table, temporary)
        else:
            pa.parquet.write_table(table, temporary, compression="zstd")
        temporary.replace(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error}).") from error
    finally:
        temporary.unlink(missing_ok=True)


def read_outcomes(path: Path) -> OutcomeTable:
    """Raises DataError naming the file, and the column, row and value that cannot be used."""
    table = _read(path)
    metadata = table.schema.metadata or {}
    _check_columns(path, table)
    for name in ("prompt_id", "stage"):
        table = _with_column(table, name, _texts(path, table, name))
    for name in ("stage_index", "quality", "cost"):
        table = _with_column(table, name, _numbers(path, table, name))
    table = table.sort_by([("prompt_id", "ascending"), ("stage_index", "ascending")])
    ids = np.array(table["prompt_id"].to_pylist(), dtype=object)
    index = table["stage_index"].to_numpy().astype(int)
    num_stages = int(index.max()) + 1
    _check_complete(path, ids, index, num_stages)
    shape = (-1, num_stages)
    names = np.array(table["stage"].to_pylist(), dtype=object).reshape(shape)
    for k in range(num_stages):
        if len(set(names[:, k])) != 1:
            raise DataError(f"{path}: stage_index {k} has names {sorted(set(names[:, k]))[:3]}.")
    if len(set(names[0])) != num_stages:
        raise DataError(f"{path}: two stages have one name: {', '.join(names[0])}.")
    quality = table["quality"].to_numpy().reshape(shape)
    kept = ~np.isnan(quality).any(axis=1)
    return OutcomeTable(
        stages=_stages(path, metadata, list(names[0])),
        prompt_ids=tuple(ids.reshape(shape)[kept, 0]),
        quality=quality[kept],
        cost=table["cost"].to_numpy().reshape(shape)[kept],
        columns={
            name: _column(table, name).reshape(shape)[kept]
            for name in table.column_names
            if name not in _REQUIRED
        },
        num_left_out=int((~kept).sum()),
    )


def _read(path: Path) -> pa.Table:
    try:
        if path.suffix == ".csv":
            types = {"prompt_id": pa.string(), "stage": pa.string()}  # an id "007" stays as it is
            options = pa.csv.ConvertOptions(column_types=types)
            table = pa.csv.read_csv(path, convert_options=options)
        else:
            table = pa.parquet.read_table(path, partitioning=None)
        table.validate(full=True)
        _ = table.column_names  # raises where a name is no text
        return table
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        first = (str(error).splitlines() or [""])[0][:300]
        raise DataError(f"{path}: not a readable Parquet or CSV table ({first}).") from error


def _check_columns(path: Path, table: pa.Table) -> None:
    for name in _REQUIRED:
        if name not in table.column_names:
            raise DataError(f"{path}: column {name!r} is missing; needed: {', '.join(_REQUIRED)}.")
    for name in table.column_names:
        if table.column_names.count(name) > 1:
            raise DataError(f"{path}: column {name!r} comes twice.")
    if table.num_rows == 0:
        raise DataError(f"{path}: it has no rows.")


def _with_column(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, values)


def _column(table: pa.Table, name: str) -> NDArray[np.generic]:
    column = table[name]
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return np.asarray(column.to_numpy())
    values = np.empty(len(column), dtype=object)
    if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
        values[:] = [None if v is None else np.asarray(v) for v in column.to_pylist()]
    else:
        values[:] = column.to_pylist()
    return values


def _texts(path: Path, table: pa.Table, name: str) -> pa.Array:
    values = table[name].to_pylist()
    if pa.types.is_nested(table[name].type):
        raise DataError(f"{path}: column {name!r} holds {table[name].type}; it must be text.")
    for row, value in enumerate(values):
        if value is None or value == "":
            raise DataError(f"{path}: row {row + 1}: {name} is empty.")
    return pa.array([str(value) for value in values], pa.string())


def _numbers(path: Path, table: pa.Table, name: str) -> pa.Array:
    """The column as floats within its bounds, NaN for a quality that was not graded."""

    def refuse(row: int, value: object) -> DataError:
        prompt, stage = table["prompt_id"][row].as_py(), table["stage"][row].as_py()
        return DataError(
            f"{path}: row {row + 1}: {name} of {prompt!r} at stage {stage!r} is {value!r:.40}; it "
            f"must be {_BOUNDS[name]}."
        )

    column = table[name].combine_chunks()
    try:
        values = _to_floats(column)
    except pa.ArrowException as error:
        for row, value in enumerate(column):
            try:
                _to_floats(value)
            except pa.ArrowException:
                raise refuse(row, value.as_py()) from error
        raise DataError(f"{path}: column {name!r} holds {column.type}, not numbers.") from error
    array = np.asarray(values.to_numpy(zero_copy_only=False), np.float64)
    match name:
        case "stage_index":
            good = (array >= 0) & (array < len(array)) & (array == np.floor(array))
        case "quality":
            good = np.isnan(array) | ((array >= 0) & (array <= 1))
        case _:
            good = (array >= 0) & (array < np.inf)
    if not good.all():
        row = int(np.argmin(good))
        raise refuse(row, column[row].as_py())
    return pa.array(array)


def _to_floats(values: Any) -> Any:
    return (values.cast(pa.int8()) if pa.types.is_boolean(values.type) else values).cast(
        pa.float64()
    )


def _check_complete(
    path: Path, ids: NDArray[np.object_], index: NDArray[np.int64], num_stages: int
) -> None:
    expected = np.tile(np.arange(num_stages), ids.size // num_stages + 1)[: ids.size]
    whole = ids.size % num_stages == 0 and (index == expected).all()
    if whole and (ids.reshape(-1, num_stages) == ids[::num_stages, None]).all():
        return
    seen: set[tuple[str, int]] = set()
    for pair in zip(ids, index, strict=True):
        if pair in seen:
            raise DataError(f"{path}: prompt {pair[0]!r} has stage {pair[1]} twice.")
        seen.add(pair)
    missing = next((i, k) for i in ids for k in range(num_stages) if (i, k) not in seen)
    raise DataError(f"{path}: prompt {missing[0]!r} has no row for stage {missing[1]}.")


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
