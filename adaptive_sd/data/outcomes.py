"""The outcome table: one row for each prompt and stage, in Parquet or CSV, whoever wrote it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

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
SPLITS = ("fit", "test")
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
    ids, names = (_texts(path, table, name) for name in ("prompt_id", "stage"))
    index, quality, cost = (
        _numbers(path, table, name) for name in ("stage_index", "quality", "cost")
    )
    num_stages = int(index.max()) + 1
    _check_split(path, table)
    order = _order(path, ids, index.astype(np.int64), num_stages)
    shape = (-1, num_stages)
    stage_names = _stage_names(path, names, order.reshape(shape))
    kept = ~np.isnan(quality[order]).reshape(shape).any(axis=1)
    num_left_out = int((~kept).sum())
    order = order.reshape(shape)[kept]
    columns = {}
    for name in table.column_names:
        if name not in _REQUIRED:  # one by one, so that no column is held twice for long
            columns[name] = _column(table, name)[order]
            table = table.drop_columns([name])
    return OutcomeTable(
        stages=_stages(path, metadata, stage_names),
        prompt_ids=tuple(ids.values[code] for code in ids.codes[order[:, 0]].tolist()),
        quality=quality[order],
        cost=cost[order],
        columns=columns,
        num_left_out=num_left_out,
    )


def _read(path: Path) -> pa.Table:
    try:
        if path.suffix == ".csv":
            types = {"prompt_id": pa.string(), "stage": pa.string()}  # an id "007" stays as it is
            options = pa.csv.ConvertOptions(column_types=types)
            table = pa.csv.read_csv(path, convert_options=options)
        else:
            schema = pa.parquet.read_schema(path)
            texts = [field.name for field in schema if pa.types.is_string(field.type)]
            table = pa.parquet.read_table(path, partitioning=None, read_dictionary=texts)
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


def _column(table: pa.Table, name: str) -> NDArray[np.generic]:
    """One value a row; equal texts share one object, lists are views of one array."""
    column = table[name]
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return np.asarray(column.to_numpy())
    values = np.empty(len(column), dtype=object)
    if pa.types.is_string(column.type) or pa.types.is_dictionary(column.type):
        start = 0
        for chunk in _encoded(column).chunks:
            distinct = np.array([*chunk.dictionary.to_pylist(), None], dtype=object)
            codes = chunk.indices.fill_null(len(distinct) - 1).to_numpy(zero_copy_only=False)
            values[start : start + len(chunk)] = distinct[codes]
            start += len(chunk)
    elif _is_list_of_numbers(column.type):
        values[:] = [part for chunk in column.chunks for part in _parts(chunk)]
    else:
        values[:] = column.to_pylist()
    return values


def _encoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column if pa.types.is_dictionary(column.type) else column.dictionary_encode()


def _is_list_of_numbers(kind: pa.DataType) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(
        is_list and (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type))
    )


def _parts(chunk: pa.Array) -> Iterator[NDArray[np.generic] | None]:
    chunk = chunk.cast(pa.list_(chunk.type.value_type))
    values = np.asarray(chunk.values.to_numpy(zero_copy_only=False))
    ends = chunk.offsets.to_numpy().tolist()
    for missing, start, end in zip(chunk.is_null().to_pylist(), ends[:-1], ends[1:], strict=True):
        yield None if missing else values[start:end]


def _check_split(path: Path, table: pa.Table) -> None:
    if "split" not in table.column_names:
        return
    column = _column(table, "split")
    if (known := np.isin(column.astype(str), SPLITS)).all():
        return
    row = int(np.argmin(known))
    prompt = table["prompt_id"][row].as_py()
    raise DataError(
        f"{path}: row {row + 1}: split of {prompt!r} is {column[row]!r:.40}; it must be 'fit' or "
        "'test'."
    )


class _Texts(NamedTuple):
    """A column of texts: the distinct ones, and the place of each row's among them."""

    values: list[str]
    codes: NDArray[np.int64]  # (num_rows,)


def _texts(path: Path, table: pa.Table, name: str) -> _Texts:
    column = table[name]
    if pa.types.is_nested(column.type):
        raise DataError(f"{path}: column {name!r} holds {column.type}; it must be text.")
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy()))
        raise DataError(f"{path}: row {row + 1}: {name} is empty.")
    column = _encoded(column).unify_dictionaries().combine_chunks()
    places: dict[str, int] = {}
    of_value = [
        places.setdefault(str(value), len(places)) for value in column.dictionary.to_pylist()
    ]
    codes = np.asarray(of_value, dtype=np.int64)[column.indices.to_numpy()]
    if "" in places and (empty := codes == places[""]).any():
        raise DataError(f"{path}: row {int(np.argmax(empty)) + 1}: {name} is empty.")
    return _Texts(list(places), codes)


def _numbers(path: Path, table: pa.Table, name: str) -> NDArray[np.float64]:
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
    return array


def _to_floats(values: Any) -> Any:
    return (values.cast(pa.int8()) if pa.types.is_boolean(values.type) else values).cast(
        pa.float64()
    )


def _order(path: Path, ids: _Texts, index: NDArray[np.int64], num_stages: int) -> NDArray[np.int64]:
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
        raise DataError(f"{path}: prompt {name(place)!r} has stage {place % num_stages} twice.")
    expected = np.arange(len(places))
    if (missing := places != expected).any() or len(places) < len(rank) * num_stages:
        place = int(np.argmax(missing)) if missing.any() else len(places)
        raise DataError(
            f"{path}: prompt {name(place)!r} has no row for stage {place % num_stages}."
        )
    return order


def _stage_names(path: Path, names: _Texts, order: NDArray[np.int64]) -> list[str]:
    """One name for each stage; `order` (num_prompts, num_stages) holds rows of the file."""
    codes = names.codes[order]
    for k in range(codes.shape[1]):
        if (codes[:, k] != codes[0, k]).any():
            found = sorted(names.values[code] for code in np.unique(codes[:, k]))
            raise DataError(f"{path}: stage_index {k} has names {found[:3]}.")
    found = [names.values[code] for code in codes[0]]
    if len(set(found)) != len(found):
        raise DataError(f"{path}: two stages have one name: {', '.join(found)}.")
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
