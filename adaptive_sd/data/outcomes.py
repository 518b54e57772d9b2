"""The outcome table: one row for each prompt and stage, in Parquet or CSV, whoever wrote it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from adaptive_sd.errors import DataError
from adaptive_sd.types import Rates

_REQUIRED = ("prompt_id", "stage", "stage_index", "quality", "cost")
_METADATA_KEY = b"adaptive_sd"


@dataclass(frozen=True, slots=True)
class StageRecord:
    """What a table says of a stage beyond its rows; empty for tables of others."""

    name: str
    model: str = ""
    model_hash: str = ""
    styles: Mapping[str, str] = field(default_factory=dict)
    rates: Rates | None = None
    num_parameters: int = 0

    def to_json(self) -> dict[str, object]:
        return asdict(self) | {"styles": dict(self.styles)}

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Self:
        """Raises KeyError and TypeError for what `to_json` did not write."""
        rates = raw["rates"]
        return cls(**raw | {"rates": None if rates is None else Rates.from_json(rates)})


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


def write_outcomes(table: pa.Table, stages: tuple[StageRecord, ...], path: Path) -> None:
    """Write a Parquet file whole or not at all."""
    described = [stage.to_json() for stage in stages]
    metadata = {_METADATA_KEY: json.dumps({"version": 1, "stages": described}).encode()}
    temporary = path.with_name(path.name + ".tmp")
    pa.parquet.write_table(table.replace_schema_metadata(metadata), temporary, compression="zstd")
    temporary.replace(path)


def read_outcomes(path: Path) -> OutcomeTable:
    """Raises DataError naming the file, and the column, row and value that cannot be used."""
    table = _read(path)
    for name in _REQUIRED:
        if name not in table.column_names:
            raise DataError(f"{path}: column {name!r} is missing; needed: {', '.join(_REQUIRED)}.")
    if table.num_rows == 0:
        raise DataError(f"{path}: it has no rows.")
    table = table.sort_by([("prompt_id", "ascending"), ("stage_index", "ascending")])
    ids = np.array(table["prompt_id"].to_pylist(), dtype=object)
    index = _numbers(table, "stage_index", path).astype(int)
    num_stages = int(index.max()) + 1
    _check_complete(path, ids, index, num_stages)
    shape = (-1, num_stages)
    names = np.array(table["stage"].to_pylist(), dtype=object).reshape(shape)
    for k in range(num_stages):
        if len(set(names[:, k])) != 1:
            raise DataError(f"{path}: stage_index {k} has names {sorted(set(names[:, k]))[:3]}.")
    cost = _numbers(table, "cost", path).reshape(shape)
    quality = _numbers(table, "quality", path, may_be_empty=True).reshape(shape)
    _check_range(path, "cost", cost, 0, np.inf, ids)
    _check_range(path, "quality", quality, 0, 1, ids)
    kept = ~np.isnan(quality).any(axis=1)
    columns = {
        name: _column(table, name).reshape(shape)[kept]
        for name in table.column_names
        if name not in _REQUIRED
    }
    return OutcomeTable(
        stages=_stages(path, table, [str(n) for n in names[0]]),
        prompt_ids=tuple(ids.reshape(shape)[kept, 0]),
        quality=quality[kept],
        cost=cost[kept],
        columns=columns,
        num_left_out=int((~kept).sum()),
    )


def _read(path: Path) -> pa.Table:
    try:
        if path.suffix == ".csv":
            return pa.csv.read_csv(path)
        return pa.parquet.read_table(path)
    except (OSError, pa.ArrowException) as error:
        first = str(error).splitlines()[0]
        raise DataError(f"{path}: not a readable Parquet or CSV table ({first}).") from error


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


def _numbers(
    table: pa.Table, name: str, path: Path, *, may_be_empty: bool = False
) -> NDArray[np.float64]:
    try:
        values = np.asarray(table[name].cast(pa.float64()).to_numpy(), np.float64)
    except pa.ArrowException as error:
        raise DataError(f"{path}: column {name!r} is not numeric ({error}).") from error
    if not may_be_empty and np.isnan(values).any():
        row = int(np.argmax(np.isnan(values)))
        raise DataError(f"{path}: {name} of {table['prompt_id'][row]} is empty or NaN.")
    return values


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


def _check_range(
    path: Path,
    name: str,
    values: NDArray[np.float64],
    low: float,
    high: float,
    ids: NDArray[np.object_],
) -> None:
    bad = ~np.isnan(values) & ((values < low) | (values > high) | np.isinf(values))
    if bad.any():
        n, k = np.argwhere(bad)[0]
        prompt = ids.reshape(values.shape)[n, 0]
        raise DataError(f"{path}: {name} of {prompt!r} at stage {k} is {values[n, k]}.")


def _stages(path: Path, table: pa.Table, names: list[str]) -> tuple[StageRecord, ...]:
    raw = (table.schema.metadata or {}).get(_METADATA_KEY)
    if raw is None:
        return tuple(StageRecord(name) for name in names)
    try:
        return tuple(StageRecord.from_json(stage) for stage in json.loads(raw)["stages"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: its description of the stages is damaged ({error}).") from error
