"""Tables as files: any that is none is named, none is written by halves or under another kind."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from adaptive_sd.data.outcomes import TOKENS, read_outcomes, write_outcomes
from adaptive_sd.data.table_files import read_table
from adaptive_sd.errors import DataError
from adaptive_sd.stage_record import StageRecord
from tests.data.test_outcomes import STAGES, csv_file, parquet, refused, rows


def test_files_that_are_no_table_are_named(tmp_path: Path) -> None:
    whole = parquet(tmp_path, rows()).read_bytes()
    for name in ("x.parquet", "x.csv"):
        path = tmp_path / name
        refused(path)
        for data in (b"", b"PAR1", b"\xff\xfe\x00,\n", whole[:-9], whole[:40], b"PAR1" * 9):
            path.write_bytes(data)
            refused(path)
    folder = tmp_path / "folder.parquet"
    folder.mkdir()
    refused(folder)
    assert "no rows" in refused(parquet(tmp_path, pa.Table.from_pylist(rows()).slice(0, 0)))
    (tmp_path / "x.csv").write_text("prompt_id,stage,stage_index,quality,cost\n")
    assert "no rows" in refused(tmp_path / "x.csv")


def test_a_table_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "t.parquet"
    folder.mkdir()
    for path in (folder, tmp_path / "absent" / "t.parquet"):
        with pytest.raises(DataError, match="cannot be written"):
            write_outcomes(pa.Table.from_pylist(rows()), STAGES, path)
    assert list(tmp_path.iterdir()) == [folder]


def test_a_table_is_the_same_in_csv_which_refuses_lists(tmp_path: Path) -> None:
    rows = {"prompt_id": ["a", "a"], "stage": ["s", "l"], "stage_index": [0, 1]}
    table = pa.table(rows | {"quality": [0.5, 1.0], "cost": [1.0, 2.0]})
    for name in ("t.parquet", "t.csv"):
        write_outcomes(table, (StageRecord("s"), StageRecord("l")), tmp_path / name)
    found = [read_outcomes(tmp_path / name) for name in ("t.parquet", "t.csv")]
    assert found[0].quality.tolist() == found[1].quality.tolist() == [[0.5, 1.0]]
    assert found[0].stages == found[1].stages
    listed = table.append_column("logprobs", pa.array([[0.1], [0.2]]))
    with pytest.raises(DataError, match="CSV cannot hold logprobs"):
        write_outcomes(listed, (StageRecord("s"), StageRecord("l")), tmp_path / "t.csv")
    assert read_outcomes(tmp_path / "t.csv").quality.tolist() == [[0.5, 1.0]]


@pytest.mark.parametrize("name", ["t.txt", "t", "t.parquet.gz", "t.tsv", ".parquet"])
def test_a_name_that_is_neither_parquet_nor_csv_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(DataError, match=r"ends in \.parquet or \.csv"):
        write_outcomes(pa.Table.from_pylist(rows()), STAGES, path)
    assert not path.exists()
    os.replace(parquet(tmp_path, rows()), path)
    assert "ends in .parquet or .csv" in refused(path)


def test_the_case_of_the_suffix_does_not_matter(tmp_path: Path) -> None:
    for name in ("t.CSV", "t.PARQUET"):
        write_outcomes(pa.Table.from_pylist(rows()), STAGES, tmp_path / name)
        assert read_outcomes(tmp_path / name).prompt_ids == ("p1", "p2")
    assert (tmp_path / "t.CSV").read_bytes().startswith(b'"prompt_id"')


def test_a_long_csv_with_lines_within_its_cells_and_late_types_is_read(tmp_path: Path) -> None:
    """More than the megabyte from which types were told, or in which a cell had to end."""
    answer = 'It is "seven",\nI think.\n' * 40
    table = [
        row | {"prompt_id": f"{n:05d}", "answer": answer if n else "7", "remark": n}
        for n in range(1500)
        for row in rows()[:2]
    ]
    table[-1] |= {"remark": "late text", "cost": 2.25}
    path = csv_file(tmp_path, table)
    assert path.stat().st_size > 2_000_000
    found = read_outcomes(path)
    assert found.columns["answer"][0].tolist() == ["7", "7"]
    assert set(found.columns["answer"][1:].ravel()) == {answer}
    assert found.columns["remark"][-1].tolist() == ["1499", "late text"]
    assert found.cost[-1, 1] == 2.25


def test_named_columns_of_a_csv_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,n\n007,007\n")
    assert read_table(path, ["id", "absent"]).to_pylist() == [{"id": "007", "n": 7}]


def test_columns_that_are_not_asked_for_are_not_looked_at(tmp_path: Path) -> None:
    """Not even where their bytes are no values."""
    table = pa.Table.from_pylist(
        [r | {"token_ids": [1, 2], "draft_ids_after_a.b": [3], "token_count": 4.0} for r in rows()]
    )
    path = parquet(tmp_path, table)
    whole, some = read_outcomes(path), read_outcomes(path, without=TOKENS)
    assert whole.columns.keys() - some.columns.keys() == {"token_ids", "draft_ids_after_a.b"}
    assert whole.quality.tolist() == some.quality.tolist()
    assert whole.columns["token_count"].tolist() == some.columns["token_count"].tolist()
    group = pa.parquet.read_metadata(path).row_group(0)
    chunks = [group.column(n) for n in range(group.num_columns)]
    raw = bytearray(path.read_bytes())
    for chunk in (c for c in chunks if c.path_in_schema.startswith(TOKENS)):
        start = chunk.dictionary_page_offset or chunk.data_page_offset
        raw[start : start + chunk.total_compressed_size] = b"x" * chunk.total_compressed_size
    path.write_bytes(raw)
    refused(path)
    assert read_outcomes(path, without=TOKENS).quality.tolist() == whole.quality.tolist()
