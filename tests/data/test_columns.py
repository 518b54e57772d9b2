"""What a column may hold: whatever else it holds is one line, with column, row and value."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adaptive_sd.data.outcomes import OutcomeTable, read_outcomes
from adaptive_sd.errors import DataError
from adaptive_sd.offline.evidence import fit_projections, read_evidence, to_fit_table
from adaptive_sd.offline.fit import acceptance_of
from tests.data.test_outcomes import Row, csv_file, parquet, refused

many = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300
)
NAMES = ("small", "large")


def whole_rows() -> list[Row]:
    """Three prompts on two stages, with every column that anything reads."""
    return [
        {
            **{"prompt_id": f"p{n}", "stage": name, "stage_index": k},
            **{"quality": (n + k) / 4, "cost": k + 1.5, "split": "fit" if n else "test"},
            **{"prompt": f"What is {n} + {n}?", "answer": str(n), "category": "c", "dataset": "d"},
            **{"tokens_in": 9, "num_cached": 4, "tokens_out": 2 + n},
            **{"latency_s": 0.5, "prefill_s": 0.25, "decode_s": 0.25, "remark": "none"},
            **{"signal_margin_mean": 1.5, "signal_own@4": n - 1.0, "signal_tokens_out": 3},
            "logprobs": [-0.5, -0.25 * n],
            "hidden": [0.5 * n, -1.0, 2.0][: 3 - k],
            **{f"{what}_after_small": v if k else None for what, v in AFTER.items()},
            **{"cost@16": 0.5, "cost_after_small@16": 1.0 if k else None},
        }
        for n in range(3)
        for k, name in enumerate(NAMES)
    ]


AFTER = {"cost": 1.25, "drafted": 4, "agreed": 3, "accepted": 2}


def use(path: Path) -> OutcomeTable:
    """Read all that a fit reads of a table."""
    table = read_outcomes(path)
    table.is_fit()
    projections = fit_projections(table)
    evidence = read_evidence(table, projections)
    fit_table = to_fit_table(table, evidence, table.quality)
    for values in (fit_table.cost, fit_table.statistics, table.cost**2, evidence.features**2):
        assert np.isfinite(values.sum(axis=0)).all()
    acceptance_of(table, evidence.prompts)
    return table


def changed(row: int, **values: object) -> list[Row]:
    table = whole_rows()
    table[row] |= values
    return table


def test_the_whole_table_is_read(tmp_path: Path) -> None:
    table = use(parquet(tmp_path, whole_rows()))
    assert table.prompt_ids == ("p0", "p1", "p2")
    numbers = [name for name in table.columns if name.startswith(("signal_", "tokens_", "cost"))]
    assert {table.columns[name].dtype for name in numbers} == {np.dtype(np.float64)}
    assert [values.tolist() for values in table.columns["hidden"][1]] == [[0.5, -1, 2], [0.5, -1]]


def test_columns_of_other_names_hold_anything(tmp_path: Path) -> None:
    others = {"num_cached_x": 5, "tokens_in_x": 1, "remark": ["a"], "lists": [math.nan, None]}
    table = use(parquet(tmp_path, [row | others for row in whole_rows()]))
    assert table.columns["remark"][0, 0] == ["a"]
    assert np.isnan(table.columns["lists"][0, 0]).all()


COUNTS = ("num_cached", "tokens_in", "tokens_out", "drafted_after_small", "accepted_after_small")
COSTS = ("cost_after_small", "cost@16", "cost_after_small@16", "latency_s", "prefill_s", "decode_s")
BAD: dict[str, tuple[object, ...]] = {
    **dict.fromkeys(COUNTS, ("many", -1, math.inf, 1e308)),
    **dict.fromkeys(COSTS, ("much", -0.5, math.inf, 1e308)),
    **dict.fromkeys(("signal_margin_mean", "signal_own@4"), ("high", math.inf, -1e308)),
    **dict.fromkeys(("prompt", "answer", "category", "dataset"), (["a"], {"a": 1})),
    "split": ("tset", "", None, ["fit"]),
    "logprobs": ("-0.5", ["high"], [-0.5, math.nan], [None, -0.5], [-math.inf], 0.5, {"a": 1}),
    "hidden": ("0.5", ["x"], [], [0.5], [0.5] * 4, [math.nan] * 2, [1e308] * 2, [[0.5]]),
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, vs in BAD.items() for v in vs])
def test_what_a_column_cannot_hold_is_named(tmp_path: Path, name: str, value: object) -> None:
    """In one row, or in all where one column cannot hold both."""
    row = 3
    try:
        path = parquet(tmp_path, changed(row, **{name: value}))
    except (pa.ArrowException, TypeError):
        path = parquet(tmp_path, [r | {name: value} for r in whole_rows()])
        row = 0
    shown = f"row {row + 1}: {name} of 'p{row // 2}' at stage '{NAMES[row % 2]}' is "
    message = refused(path)
    assert shown in message and "it must be" in message


def test_text_within_numbers_of_a_csv_is_named(tmp_path: Path) -> None:
    bare = [{k: v for k, v in row.items() if not isinstance(v, list)} for row in whole_rows()]
    for name in ("signal_margin_mean", "accepted_after_small", "num_cached"):
        table = [dict(row) for row in bare]
        table[3][name] = "about 1"
        message = refused(csv_file(tmp_path, table))
        assert f"row 4: {name} of 'p1' at stage 'large' is 'about 1'" in message


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"num_cached": 10}, "num_cached of 'p1' at stage 'large' is 10.0; it must be at most its"),
        ({"accepted_after_small": 5}, "at most its drafted_after_small"),
        ({"drafted_after_small": None}, "_after_small of 'p1' at stage 'large' is"),
    ],
)
def test_a_part_is_at_most_its_whole(tmp_path: Path, values: Row, part: str) -> None:
    assert part in refused(parquet(tmp_path, changed(3, **values)))


@pytest.mark.parametrize("name", [n for n in whole_rows()[0] if n not in ("split", "remark")])
def test_a_column_without_values_is_missing_evidence(tmp_path: Path, name: str) -> None:
    path = parquet(tmp_path, [row | {name: None} for row in whole_rows()])
    if name in ("prompt_id", "stage", "stage_index", "cost"):
        assert name in refused(path)
    elif name in ("tokens_in", "drafted_after_small"):
        assert "it must be at most" in refused(path)
    else:
        assert read_outcomes(path).num_left_out == (3 if name == "quality" else 0)


VALUES = [math.nan, math.inf, -1, -1e308, 1e308, 2**62, 0, 7, "", "text", "1.5", True, None]
VALUES += [[], [1.0], [math.nan], ["x"], [None], [[1.0]], [1e308, 2.0], {"a": 1}, b"\xff", -0.0]
KINDS = [pa.string(), pa.large_string(), pa.binary(), pa.int8(), pa.int64(), pa.float16()]
KINDS += [pa.float32(), pa.bool_(), pa.decimal128(30, 3), pa.timestamp("s"), pa.null()]
KINDS += [pa.dictionary(pa.int32(), pa.string()), pa.large_list(pa.float64())]
KINDS += [pa.list_(pa.float16()), pa.list_(pa.int32()), pa.list_(pa.string())]


def set_value(rows: list[Row], name: str, row: int, value: object) -> pa.Table:
    try:
        return pa.Table.from_pylist(
            [r | {name: value} if n == row else r for n, r in enumerate(rows)]
        )
    except (pa.ArrowException, TypeError, OverflowError):
        return pa.Table.from_pylist([r | {name: value} for r in rows])


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """A whole table, but for something in one column or row of it."""
    rows = whole_rows()
    name, row = draw(st.sampled_from(list(rows[0]))), draw(st.integers(0, len(rows) - 1))
    match draw(st.sampled_from(["value", "values", "kind", "drop", "row twice", "row gone"])):
        case "value":
            return set_value(rows, name, row, draw(st.sampled_from(VALUES)))
        case "values":
            value = draw(st.sampled_from(VALUES))
            return pa.Table.from_pylist([r | {name: value} for r in rows])
        case "kind":
            table = pa.Table.from_pylist(rows)
            place = table.column_names.index(name)
            try:
                column = table[name].cast(draw(st.sampled_from(KINDS)), safe=False)
            except pa.ArrowException:
                return table
            return table.set_column(place, name, column)
        case "drop":
            return pa.Table.from_pylist(rows).drop_columns([name])
        case "row twice":
            return pa.Table.from_pylist([*rows, rows[row]])
        case _:
            return pa.Table.from_pylist(rows[:row] + rows[row + 1 :])


@many
@given(mutated())
def test_any_change_gives_a_table_or_one_line(tmp_path: Path, table: pa.Table) -> None:
    path = tmp_path / "own.parquet"
    pa.parquet.write_table(table, path)
    try:
        use(path)
    except DataError as error:
        assert len(str(error).splitlines()) == 1
