"""What is wrong with a table is one line on stderr and exit 1, and nothing is written."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from adaptive_sd.artifact import Artifact, save_artifact
from adaptive_sd.cli import run

Row = dict[str, Any]
NAMES = ("small", "middle", "large")


def rows() -> list[Row]:
    return [
        {"prompt_id": f"p{n:03d}", "stage": name, "stage_index": k}
        | {"quality": float(n % (k + 2) > 0), "cost": k + 1.0, "split": ("fit", "test")[n % 2]}
        for n in range(120)
        for k, name in enumerate(NAMES)
    ]


def changed(place: int, **values: object) -> list[Row]:
    table = rows()
    table[place] |= values
    return table


def without(column: str) -> list[Row]:
    return [{k: v for k, v in row.items() if k != column} for row in rows()]


CASES: dict[str, tuple[list[Row] | bytes, list[str]]] = {
    "missing column": (without("cost"), ["column 'cost' is missing"]),
    "unknown split": (changed(7, split="tset"), ["row 8", "split of 'p002'", "'tset'"]),
    "empty split": (changed(7, split=None), ["row 8", "split of 'p002'", "None"]),
    "two splits": (changed(7, split="test"), ["split of prompt 'p002'", "'fit', 'test', 'fit'"]),
    "duplicate pair": ([*rows(), rows()[4]], ["'p001'", "stage 1 twice"]),
    "NaN cost": (changed(5, cost=math.nan), ["row 6", "cost of 'p001'", "'large'", "nan"]),
    "quality 2.0": (changed(3, quality=2.0), ["row 4", "quality of 'p001'", "'small'", "2.0"]),
    "stage missing": (rows()[:-1], ["'p119'", "no row for stage 2"]),
    "bad token count": (
        [row | {"tokens_out": -1 if n == 12 else 5} for n, row in enumerate(rows())],
        ["tokens_out of 'p004'", "'small'", "-1"],
    ),
    "text for a signal": (
        [row | {"signal_logprob_mean": "high"} for row in rows()],
        ["signal_logprob_mean of 'p000' at stage 'small'", "'high'"],
    ),
    "cost too large": (changed(5, cost=1e308), ["cost of 'p001'", "1e+308"]),
    "hidden states of two lengths": (
        [row | {"hidden": [0.5] * (1 + (n == 12))} for n, row in enumerate(rows())],
        ["row 13", "hidden of 'p004'", "'small'", "[0.5, 0.5]"],
    ),
    "lists for answers": (
        [row | {"answer": ["a"]} for row in rows()],
        ["row 1", "answer of 'p000'", "['a']"],
    ),
    "no rows": ([], ["no rows"]),
    "empty file": (b"", ["not a readable"]),
    "not Parquet": (b"prompt_id;stage\n1;2\n" * 40, ["not a readable"]),
    "cut off": (b"PAR1" + b"\0" * 400, ["not a readable"]),
}


def write(path: Path, content: list[Row] | bytes) -> None:
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        schema = pa.Table.from_pylist(rows()).schema
        data = pa.Table.from_pylist(content) if content else schema.empty_table()
        pa.parquet.write_table(data, path)


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def saved(artifact: Artifact, tmp_path: Path) -> Path:
    save_artifact(artifact, tmp_path / "artifact")
    return tmp_path / "artifact"


COMMANDS: dict[str, Callable[[Path, Path], list[str]]] = {
    "fit": lambda table, out: ["fit", str(table), "--out", str(out / "new")],
    "fit over another": lambda table, out: ["fit", str(table), "--out", str(out)],
    "replay": lambda table, out: ["replay", str(table), "--json"],
    "replay artifact": lambda table, out: ["replay", str(table), "--artifact", str(out)],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("case", CASES)
def test_a_malformed_table_is_one_line_and_changes_nothing(
    case: str, command: str, saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, parts = CASES[case]
    table = tmp_path / "table.parquet"
    write(table, content)
    before = files(tmp_path)
    assert run(COMMANDS[command](table, saved)) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1
    assert [part for part in parts if part not in err] == [], err
    assert files(tmp_path) == before


def test_an_artifact_never_takes_the_place_of_the_table_it_is_fitted_on(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(saved / "table.parquet", rows())
    before = files(tmp_path)
    for out in (saved, tmp_path / "new" / ".." / "artifact", saved / "table.parquet"):
        assert run(["fit", str(saved / "table.parquet"), "--out", str(out)]) == 1
        err = capsys.readouterr().err
        assert "which is read, would be lost" in err and err.count("\n") == 1
    assert files(tmp_path) == before


@pytest.mark.parametrize("command", ["replay", "fit"])
def test_a_table_that_is_not_there_is_named(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "new")] if command == "fit" else []
    assert run([command, str(tmp_path / "none.parquet"), *out]) == 1
    assert "none.parquet" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
