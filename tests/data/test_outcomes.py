"""Outcome tables: what was written is read; what cannot be used is named."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adaptive_sd.data.columns import MAX_COST
from adaptive_sd.data.outcomes import OutcomeTable, read_outcomes, write_outcomes
from adaptive_sd.errors import DataError
from adaptive_sd.stage_record import StageRecord
from adaptive_sd.types import Rates

many = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
STAGES = (
    StageRecord(
        *("small", "qwen2.5-coder-0.5b", "ab" * 32),
        styles={"choice": "letter", "code": "block"},
        rates=Rates(0.001, 0.02, ((2, 0.03), (8, 0.05))),
        num_parameters=630_167_424,
    ),
    StageRecord("large", rates=None),
)
Row = dict[str, Any]


def rows() -> list[Row]:
    """Two prompts on two stages."""
    return [
        {"prompt_id": p, "stage": s.name, "stage_index": k, "quality": q, "cost": k + 1.5}
        for p, q in (("p1", 0.25), ("p2", 1.0))
        for k, s in enumerate(STAGES)
    ]


def changed(row: int, **values: object) -> list[Row]:
    table = rows()
    table[row] |= values
    return table


def parquet(folder: Path, table: list[Row] | pa.Table) -> Path:
    path = folder / "own.parquet"
    data = table if isinstance(table, pa.Table) else pa.Table.from_pylist(table)
    pa.parquet.write_table(data, path)
    return path


def csv_file(folder: Path, table: list[Row]) -> Path:
    path = folder / "own.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    return path


def refused(path: Path) -> str:
    """The one line of the DataError that names the file."""
    with pytest.raises(DataError) as caught:
        read_outcomes(path)
    message = str(caught.value)
    assert message.startswith(f"{path}") and len(message.splitlines()) == 1
    return message


def test_what_was_written_is_read_with_its_stages(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_outcomes(pa.Table.from_pylist(rows()), STAGES, path)
    table = read_outcomes(path)
    assert table.stages == STAGES
    assert table.prompt_ids == ("p1", "p2")
    np.testing.assert_array_equal(table.quality, [[0.25, 0.25], [1, 1]])
    np.testing.assert_array_equal(table.cost, [[1.5, 2.5]] * 2)
    assert table.num_left_out == 0
    assert [p.name for p in tmp_path.iterdir()] == ["t.parquet"]


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
numbers = st.floats(0, MAX_COST)
GRADED = [0.0, 1e-300, 1 / 3, 1.0]
SCHEMA = pa.schema(
    {
        **{"prompt_id": pa.string(), "stage": pa.string(), "stage_index": pa.int32()},
        **{"quality": pa.float64(), "cost": pa.float64(), "answer": pa.string()},
        "logprobs": pa.list_(pa.float64()),
    }
)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[Row], int]:
    """Rows of a whole table in any order, and its number of stages."""
    ids = draw(st.lists(texts, min_size=1, max_size=4, unique=True))
    names = draw(st.lists(texts, min_size=1, max_size=4, unique=True))
    table = [
        {
            "prompt_id": i,
            "stage": name,
            "stage_index": k,
            "quality": draw(st.sampled_from([None, math.nan, *GRADED])),
            "cost": draw(numbers),
            "answer": draw(st.none() | texts),
            "logprobs": draw(st.lists(st.floats(-9, 0), max_size=3)),
        }
        for i in ids
        for k, name in enumerate(names)
    ]
    return draw(st.permutations(table)), len(names)


@many
@given(tables())
def test_any_whole_table_is_read(tmp_path: Path, drawn: tuple[list[Row], int]) -> None:
    written, num_stages = drawn
    names = {row["stage_index"]: row["stage"] for row in written}
    stages = tuple(StageRecord(names[k]) for k in range(num_stages))
    path = tmp_path / "t.parquet"
    write_outcomes(pa.Table.from_pylist(written, SCHEMA), stages, path)
    table = read_outcomes(path)
    cells = {(row["prompt_id"], row["stage_index"]): row for row in written}
    is_graded = {i: all(cells[i, k]["quality"] in GRADED for k in names) for i, _ in cells}
    assert table.stages == stages
    assert table.prompt_ids == tuple(sorted(i for i, graded in is_graded.items() if graded))
    assert table.num_left_out == list(is_graded.values()).count(False)
    assert set(table.columns) == {"answer", "logprobs"}
    for n, i in enumerate(table.prompt_ids):
        for k in range(num_stages):
            row = cells[i, k]
            assert (table.quality[n, k], table.cost[n, k]) == (row["quality"], row["cost"])
            assert table.columns["answer"][n, k] == row["answer"]
            assert list(table.columns["logprobs"][n, k]) == row["logprobs"]


def same(a: OutcomeTable, b: OutcomeTable) -> bool:
    return (
        (a.stages, a.prompt_ids, a.num_left_out) == (b.stages, b.prompt_ids, b.num_left_out)
        and np.array_equal(a.quality, b.quality)
        and np.array_equal(a.cost, b.cost)
    )


def test_csv_is_read_as_parquet_is(tmp_path: Path) -> None:
    table = [row | {"prompt_id": f"00{row['prompt_id'][1]}", "split": "fit"} for row in rows()]
    table += [r | {"prompt_id": "7e3", "quality": None} for r in table[:2]]
    a, b = read_outcomes(parquet(tmp_path, table)), read_outcomes(csv_file(tmp_path, table))
    assert a.prompt_ids == ("001", "002") and a.num_left_out == 1
    assert same(a, b)
    assert b.columns["split"].tolist() == [["fit", "fit"]] * 2


def test_other_types_of_the_same_values_are_read(tmp_path: Path) -> None:
    plain = read_outcomes(parquet(tmp_path, rows()))
    table = pa.Table.from_pylist(rows())
    for name, kind in (
        ("prompt_id", pa.dictionary(pa.int32(), pa.string())),
        ("stage", pa.large_string()),
        ("stage_index", pa.float32()),
        ("quality", pa.string()),
        ("cost", pa.decimal128(9, 3)),
    ):
        column = table.column_names.index(name)
        other = table.set_column(column, name, table[name].cast(kind))
        assert same(read_outcomes(parquet(tmp_path, other)), plain), name
    right = read_outcomes(parquet(tmp_path, [r | {"quality": r["quality"] == 1} for r in rows()]))
    np.testing.assert_array_equal(right.quality, plain.quality == 1)


@pytest.mark.parametrize("name", ["prompt_id", "stage", "stage_index", "quality", "cost"])
def test_a_missing_column_is_named(tmp_path: Path, name: str) -> None:
    table = [{k: v for k, v in row.items() if k != name} for row in rows()]
    assert f"column '{name}' is missing" in refused(parquet(tmp_path, table))
    assert f"column '{name}' is missing" in refused(csv_file(tmp_path, table))


def test_a_column_that_comes_twice_is_named(tmp_path: Path) -> None:
    twice = pa.Table.from_pylist(rows()).append_column("cost", pa.array([1.0] * 4))
    assert "cost" in refused(parquet(tmp_path, twice))
    pa.csv.write_csv(twice, tmp_path / "own.csv")
    assert "column 'cost' comes twice" in refused(tmp_path / "own.csv")


@pytest.mark.parametrize(
    ("table", "parts"),
    [
        (
            changed(2, cost=math.nan),
            ["row 3", "cost of 'p2' at stage 'small' is nan", "at least 0"],
        ),
        (changed(3, cost=1e308), ["row 4", "cost of 'p2' at stage 'large' is 1e+308"]),
        (changed(3, cost=None), ["row 4", "cost of 'p2' at stage 'large' is None"]),
        (changed(0, cost=-1.0), ["row 1", "cost of 'p1' at stage 'small' is -1.0"]),
        (changed(0, cost=math.inf), ["cost of 'p1'", "is inf"]),
        (changed(1, quality=2.0), ["row 2", "quality of 'p1' at stage 'large' is 2.0", "0 to 1"]),
        (changed(1, quality=-0.1), ["quality of 'p1'", "-0.1"]),
        (changed(1, quality=math.inf), ["quality of 'p1'", "inf"]),
        (changed(0, stage_index=-1), ["stage_index of 'p1' at stage 'small' is -1"]),
        (changed(0, stage_index=10**9), ["stage_index of 'p1'", "1000000000"]),
        (changed(0, stage_index=2**62), ["stage_index of 'p1'", str(2**62)]),
        (changed(0, stage_index=None), ["stage_index of 'p1'", "None"]),
        (changed(2, prompt_id=None), ["row 3", "prompt_id is empty"]),
        (changed(2, prompt_id=""), ["row 3", "prompt_id is empty"]),
        (changed(3, stage=None), ["row 4", "stage is empty"]),
        (changed(3, stage="huge"), ["stage_index 1", "huge", "large"]),
        ([r | {"stage": "one"} for r in rows()], ["two stages have one name", "one"]),
        ([*rows(), rows()[1]], ["prompt 'p1' has stage 1 twice"]),
        (rows()[:3], ["prompt 'p2' has no row for stage 1"]),
        (rows()[1:], ["prompt 'p1' has no row for stage 0"]),
        (changed(1, stage_index=2), ["prompt 'p1' has no row for stage 1"]),
    ],
)
def test_a_row_that_cannot_be_used_is_named(
    tmp_path: Path, table: list[Row], parts: list[str]
) -> None:
    message = refused(parquet(tmp_path, table))
    assert [part for part in parts if part not in message] == [], message


@pytest.mark.parametrize("name", ["stage_index", "quality", "cost"])
def test_text_in_a_numeric_column_is_named(tmp_path: Path, name: str) -> None:
    table = [row | {name: str(row[name])} for row in rows()]
    table[2][name] = "about 1"
    for path in (parquet(tmp_path, table), csv_file(tmp_path, table)):
        message = refused(path)
        assert f"row 3: {name} of 'p2' at stage 'small' is 'about 1'" in message


@pytest.mark.parametrize("name", ["prompt_id", "stage", "stage_index", "quality", "cost"])
@pytest.mark.parametrize("value", [[1.0], {"a": 1}])
def test_a_column_of_another_kind_is_named(tmp_path: Path, name: str, value: object) -> None:
    assert name in refused(parquet(tmp_path, [row | {name: value} for row in rows()]))


@many
@given(st.data())
def test_any_damage_gives_a_table_or_one_error(tmp_path: Path, data: st.DataObject) -> None:
    raw = bytearray(parquet(tmp_path, rows()).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.parquet"
    path.write_bytes(raw)
    try:
        read_outcomes(path)
    except DataError as error:
        assert str(error).startswith(str(path))


@pytest.mark.parametrize(
    ("metadata", "part"),
    [
        (b"\xff", "damaged"),
        (b"null", "damaged"),
        (b"[" * 100_000, "damaged"),
        (b"{}", "damaged"),
        (b'{"version": 1, "stages": 5}', "damaged"),
        (b'{"version": 1, "stages": [{}]}', "damaged"),
        (b'{"version": 1, "stages": ["small"]}', "damaged"),
        (b'{"version": 1, "stages": [{"name": "s", "rates": null, "more": 1}]}', "damaged"),
        (b'{"version": 9, "stages": []}', "version 9"),
        (b'{"version": 1, "stages": []}', "describes other stages"),
    ],
)
def test_a_damaged_description_of_the_stages_is_named(
    tmp_path: Path, metadata: bytes, part: str
) -> None:
    table = pa.Table.from_pylist(rows()).replace_schema_metadata({b"adaptive_sd": metadata})
    assert part in refused(parquet(tmp_path, table))
