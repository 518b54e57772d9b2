"""The columns of an outcome table: what each may hold, and the row that holds something else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from adaptive_sd.errors import DataError

MAX_COST = 1e100
"""Sums and squares of costs stay finite."""
_MAX_EVIDENCE = 1e15  # as 32-bit floats, features can still be squared and summed
_MAX_COUNT = 1e9
_MAX_STAGE = 999


class Bound(NamedTuple):
    """Numbers from `least` to `most`; `must` says so in words."""

    least: float
    most: float
    must: str
    may_be_empty: bool = True
    whole: bool = False


_COUNT = Bound(0, _MAX_COUNT, f"a count up to {_MAX_COUNT:g}, or empty")
_SECONDS = Bound(0, MAX_COST, f"a number of seconds up to {MAX_COST:g}, or empty")
_NUMBERS = {
    "stage_index": Bound(
        *(0, _MAX_STAGE, "0 for the cheapest stage, 1 for the next and so on"),
        may_be_empty=False,
        whole=True,
    ),
    "quality": Bound(0, 1, "from 0 to 1, or empty when it was not graded"),
    "cost": Bound(0, MAX_COST, f"a number, at least 0, up to {MAX_COST:g}", may_be_empty=False),
    **dict.fromkeys(("tokens_in", "num_cached", "tokens_out"), _COUNT),
    **dict.fromkeys(("latency_s", "prefill_s", "decode_s"), _SECONDS),
}
_PREFIXES = {
    "signal_": Bound(-_MAX_EVIDENCE, _MAX_EVIDENCE, f"a number within {_MAX_EVIDENCE:g}, or empty"),
    **dict.fromkeys(
        ("cost@", "cost_after_"),
        Bound(0, MAX_COST, f"a number, at least 0, up to {MAX_COST:g}, or empty"),
    ),
    **dict.fromkeys(("accepted_after_", "drafted_after_"), _COUNT),
}
_PARTS = {"num_cached": "tokens_in", "accepted_after_": "drafted_after_"}
"""Counts of some of what another column counts."""
TEXTS = ("prompt_id", "stage", "split", "prompt", "answer", "category", "dataset")
_NO_TEXT = (pa.types.is_nested, pa.types.is_binary, pa.types.is_large_binary)
_LISTS = (
    *("logprobs", "hidden", "token_ids", "vote_tokens"),
    *("draft_ids_after_", "draft_sureties_after_"),
)
SPLITS = ("fit", "test")


class Texts(NamedTuple):
    """A column of texts: the distinct ones, and the place of each row's among them."""

    values: list[str]
    codes: NDArray[np.int64]  # (num_rows,)


class Columns:
    """The columns of a table that was read from `path`.

    All methods raise DataError naming the file, the column, the row and the value.
    """

    def __init__(self, path: Path, table: pa.Table) -> None:
        self.path = path
        self.names: list[str] = table.column_names
        self._table = table
        for name in self.names:
            if self.names.count(name) > 1:
                raise DataError(f"{path}: column {name!r} comes twice; leave one out.")

    def texts(self, name: str) -> Texts:
        """Of a column in which no text may be missing."""
        column = self._text_column(name)
        if column.null_count:
            row = int(np.argmax(column.is_null().to_numpy()))
            raise DataError(f"{self.path}: row {row + 1}: {name} is empty; every row has one.")
        column = _encoded(column).unify_dictionaries().combine_chunks()
        places: dict[str, int] = {}
        of_value = [
            places.setdefault(str(value), len(places)) for value in column.dictionary.to_pylist()
        ]
        codes = np.asarray(of_value, dtype=np.int64)[column.indices.to_numpy()]
        if "" in places and (empty := codes == places[""]).any():
            raise DataError(
                f"{self.path}: row {int(np.argmax(empty)) + 1}: {name} is empty; every row has one."
            )
        return Texts(list(places), codes)

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Of a column that has a bound; NaN where it is empty and may be."""
        bound = _bound(name)
        assert bound is not None, name
        column = self._table[name].combine_chunks()
        try:
            values = _to_floats(column)
        except pa.ArrowException as error:
            for row, value in enumerate(column):
                try:
                    _to_floats(value)
                except pa.ArrowException:
                    raise self._refused(name, row, value.as_py(), bound.must) from error
            raise DataError(
                f"{self.path}: column {name!r} holds {column.type}, not numbers."
            ) from error
        array = np.asarray(values.to_numpy(zero_copy_only=False), np.float64)
        good = (array >= bound.least) & (array <= bound.most)
        if bound.whole:
            good &= array == np.floor(array)
        if bound.may_be_empty:
            good |= np.isnan(array)
        if not good.all():
            row = int(np.argmin(good))
            raise self._refused(name, row, column[row].as_py(), bound.must)
        return array

    def take(self, name: str, stage_of_row: NDArray[np.int64]) -> NDArray[np.generic]:
        """One value a row: numbers, or objects, of which equal texts share one; None is empty.

        The column is let go of, so that no two are held twice.
        """
        values = self._read(name, stage_of_row)
        self._table = self._table.drop_columns([name])
        return values

    def check_parts(self) -> None:
        """A count is at most what it is a part of, and is there only where that is."""
        for name in self.names:
            prefix = next((part for part in _PARTS if name.startswith(part)), None)
            whole = prefix and name.replace(prefix, _PARTS[prefix], 1)
            if not whole or whole not in self.names or _bound(name) is None:
                continue
            values = self.numbers(name)
            good = np.isnan(values) | (values <= self.numbers(whole))
            if not good.all():
                row = int(np.argmin(good))
                raise self._refused(name, row, values[row].item(), f"at most its {whole}")

    def _read(self, name: str, stage_of_row: NDArray[np.int64]) -> NDArray[np.generic]:
        if _bound(name) is not None:
            return self.numbers(name)
        if name.startswith(_LISTS):
            lists = self._finite_lists(name)
            if name == "hidden":
                self._check_widths(name, lists, stage_of_row)
            return lists
        values = _objects(self._text_column(name) if name in TEXTS else self._table[name])
        if name == "split" and not (known := np.isin(values.astype(str), SPLITS)).all():
            row = int(np.argmin(known))
            raise self._refused(name, row, values[row], "'fit' or 'test'")
        return values

    def _text_column(self, name: str) -> pa.ChunkedArray:
        column = self._table[name]
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if any(is_kind(kind) for is_kind in _NO_TEXT):
            self._refuse_first(name, "text")
        return column

    def _finite_lists(self, name: str) -> NDArray[np.generic]:
        column = self._table[name]
        must = "a list of finite numbers, or empty"
        if not _is_list_of_numbers(column.type):
            self._refuse_first(name, must)
            return _objects(column)  # of nothing but empty values
        lists = _objects(column)
        if not all(_are_evidence(_floats_of(chunk.flatten())) for chunk in column.chunks):
            bad = (v is not None and not _are_evidence(v) for v in lists)
            row = next(n for n, is_bad in enumerate(bad) if is_bad)
            raise self._refused(name, row, lists[row].tolist(), must)
        return lists

    def _check_widths(
        self, name: str, lists: NDArray[np.generic], stage_of_row: NDArray[np.int64]
    ) -> None:
        """A model has hidden states of one length."""
        widths = np.array([-1 if values is None else len(values) for values in lists])
        for stage in np.unique(stage_of_row):
            rows = np.flatnonzero((stage_of_row == stage) & (widths >= 0))
            bad = rows[(widths[rows] == 0) | (widths[rows] != widths[rows[:1]])]
            if bad.size:
                row, width = int(bad[0]), max(1, int(widths[rows[0]]))
                must = f"of the length of all of its stage ({width}), or empty"
                raise self._refused(name, row, lists[row].tolist(), must)

    def _refuse_first(self, name: str, must: str) -> None:
        """Raise for the first value of a column that holds none that can be used."""
        column = self._table[name]
        for row, value in enumerate(column):
            if value.is_valid:
                raise self._refused(name, row, value.as_py(), must)

    def _refused(self, name: str, row: int, value: object, must: str) -> DataError:
        prompt, stage = (self._table[n][row].as_py() for n in ("prompt_id", "stage"))
        return DataError(
            f"{self.path}: row {row + 1}: {name} of {prompt!r:.80} at stage {stage!r:.80} is "
            f"{value!r:.40}; it must be {must}."
        )


def _bound(name: str) -> Bound | None:
    by_prefix = (bound for prefix, bound in _PREFIXES.items() if name.startswith(prefix))
    return _NUMBERS.get(name) or next(by_prefix, None)


def _to_floats(values: Any) -> Any:
    """Raises ArrowException; text may spell numbers, and be empty as CSV writes it."""
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    elif pa.types.is_string(values.type) or pa.types.is_dictionary(values.type):
        texts = values.cast(pa.string())
        values = pa.compute.if_else(pa.compute.equal(texts, ""), None, texts)
    return values.cast(pa.float64())


def _encoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column if pa.types.is_dictionary(column.type) else column.dictionary_encode()


def _objects(column: pa.ChunkedArray) -> NDArray[np.generic]:
    """Lists of numbers are views of one array."""
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


def _is_list_of_numbers(kind: pa.DataType) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not (is_list or pa.types.is_fixed_size_list(kind)):
        return False
    of = kind.value_type
    return bool(pa.types.is_floating(of) or pa.types.is_integer(of) or pa.types.is_null(of))


def _are_evidence(values: NDArray[np.generic]) -> bool:
    """Without a copy: hidden states of a large table are gigabytes. NaN makes both extremes NaN."""
    if not values.size:
        return True
    return bool(float(values.min()) >= -_MAX_EVIDENCE and float(values.max()) <= _MAX_EVIDENCE)


def _floats_of(flat: pa.Array) -> NDArray[np.generic]:
    flat = flat.cast(pa.float32()) if pa.types.is_null(flat.type) else flat
    return np.asarray(flat.to_numpy(zero_copy_only=False))


def _parts(chunk: pa.Array) -> Iterator[NDArray[np.generic] | None]:
    chunk = chunk.cast(pa.list_(chunk.type.value_type))
    values = _floats_of(chunk.values)
    ends = chunk.offsets.to_numpy().tolist()
    for missing, start, end in zip(chunk.is_null().to_pylist(), ends[:-1], ends[1:], strict=True):
        yield None if missing else values[start:end]
