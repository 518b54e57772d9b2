"""Tables as files: Parquet or CSV, told by the suffix; written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from adaptive_sd.errors import DataError

SUFFIXES = (".parquet", ".csv")
_LARGEST_BLOCK = 2**31 - 1


def is_csv(path: Path) -> bool:
    """Whether a table of that name is CSV; raises DataError where it is no Parquet either."""
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path}: the name of a table ends in {' or '.join(SUFFIXES)}.")
    return path.suffix.lower() == ".csv"


def read_table(path: Path, texts: Iterable[str] = (), *, without: tuple[str, ...] = ()) -> pa.Table:
    """The file's columns; in CSV those named in `texts` are text, and an id "007" stays as it is.

    Parquet columns whose names begin with one of `without` are not read. Raises DataError naming
    the file.
    """
    try:
        table = _read_csv(path, texts) if is_csv(path) else _read_parquet(path, without)
        table.validate(full=True)
        _ = table.column_names  # raises where a name is no text
        return table
    except FileNotFoundError as error:
        raise DataError(
            f"{path}: no such file; `adaptive-sd export` or `import` makes one."
        ) from error
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        first = (str(error).splitlines() or [""])[0][:300]
        raise DataError(f"{path}: not a readable Parquet or CSV table ({first}).") from error


def _read_csv(path: Path, texts: Iterable[str]) -> pa.Table:
    # One block: a type is told from all rows, not from the first ones alone.
    block = min(path.stat().st_size + 1, _LARGEST_BLOCK)
    return pa.csv.read_csv(
        path,
        read_options=pa.csv.ReadOptions(block_size=block),
        parse_options=pa.csv.ParseOptions(newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(column_types=dict.fromkeys(texts, pa.string())),
    )


def _read_parquet(path: Path, without: tuple[str, ...]) -> pa.Table:
    schema = pa.parquet.read_schema(path)
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    wanted = [name for name in schema.names if not name.startswith(without)]
    return pa.parquet.read_table(path, columns=wanted, partitioning=None, read_dictionary=texts)


def write_table(table: pa.Table, path: Path) -> None:
    """Raises DataError where it cannot be written or has columns that CSV cannot hold."""
    as_csv = is_csv(path)
    nested = [f.name for f in table.schema if pa.types.is_nested(f.type)]
    if as_csv and nested:
        raise DataError(f"{path}: CSV cannot hold {', '.join(nested)}; write a .parquet file.")
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        if as_csv:
            pa.csv.write_csv(table, temporary)
        else:
            pa.parquet.write_table(table, temporary, compression="zstd")
        temporary.replace(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error}).") from error
    finally:
        temporary.unlink(missing_ok=True)
