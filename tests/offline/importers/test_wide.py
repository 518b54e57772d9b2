"""Wide tables of one row a prompt, as RouterBench has them, as an outcome table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from adaptive_sd.cli import run
from adaptive_sd.data.outcomes import OutcomeTable, read_outcomes
from adaptive_sd.decision.fit_table import MAX_STAGES

LARGE, SMALL = "gpt-4-1106-preview", "mistralai/mistral-7b-chat"
ROWS: dict[str, list[Any]] = {
    "sample_id": ["mmlu.val.0", "mmlu.val.1", "mtbench.2"],
    "prompt": ["['Which?\nA. one']", "['What?']", "['Write.']"],
    "eval_name": ["mmlu", "mmlu", "mtbench"],
    LARGE: [1.0, 1.0, 0.9],
    SMALL: [0.0, 1.0, 0.25],
    f"{LARGE}|model_response": ["A", "B", "A poem"],
    f"{SMALL}|model_response": ["B", "B", "Poem"],
    f"{LARGE}|total_cost": [0.003, 0.004, 0.02],
    f"{SMALL}|total_cost": [0.0001, 0.0001, 0.0003],
    "oracle_model_to_route_to": [LARGE, SMALL, LARGE],
}


def written(path: Path, rows: dict[str, list[Any]]) -> Path:
    table = pa.table(rows)
    if path.suffix == ".csv":
        pa.csv.write_csv(table, path)
    else:
        pa.parquet.write_table(table, path)
    return path


def imported(path: Path, *options: str) -> OutcomeTable:
    out = path.with_name("out.parquet")
    assert run(["import", "wide", str(path), "--out", str(out), *options]) == 0
    return read_outcomes(out)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_wide_table_becomes_a_long_one_cheapest_model_first(tmp_path: Path, suffix: str) -> None:
    table = imported(written(tmp_path / f"w{suffix}", ROWS))
    assert [stage.name for stage in table.stages] == [SMALL, LARGE]
    assert table.prompt_ids == tuple(ROWS["sample_id"])
    for k, model in enumerate((SMALL, LARGE)):
        assert table.quality[:, k].tolist() == ROWS[model]
        assert table.cost[:, k].tolist() == ROWS[f"{model}|total_cost"]
        assert table.columns["answer"][:, k].tolist() == ROWS[f"{model}|model_response"]
        assert table.columns["prompt"][:, k].tolist() == ROWS["prompt"]
        assert table.columns["category"][:, k].tolist() == ROWS["eval_name"]


def test_models_and_columns_can_be_named(tmp_path: Path) -> None:
    rows = {
        **{"id": [7, 8], "ask": ["a?", "b?"], "kind": ["x", "y"]},
        **{"q_a": [True, False], "q_b": [True, True], "c_a": [1, 2], "c_b": [3, 4]},
        "c_total": [9, 9],
    }
    path = written(tmp_path / "w.parquet", rows)
    columns = ["--id", "id", "--quality", "q_{model}", "--cost", "c_{model}"]
    table = imported(path, *columns, "--models", "b,a", "--category", "kind")
    assert [stage.name for stage in table.stages] == ["b", "a"]
    assert table.prompt_ids == ("7", "8") and table.quality.tolist() == [[1, 1], [1, 0]]
    assert table.columns["category"][:, 0].tolist() == ["x", "y"]
    assert not {"prompt", "answer"} & set(table.columns)


def test_an_ungraded_model_leaves_the_prompt_out(tmp_path: Path) -> None:
    rows = ROWS | {SMALL: [0.0, None, 0.25], f"{SMALL}|total_cost": [0.1, None, 0.1]}
    table = imported(written(tmp_path / "w.parquet", rows))
    assert table.prompt_ids == ("mmlu.val.0", "mtbench.2") and table.num_left_out == 1


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({LARGE: [1.0, 7.5, 1.0]}, [], f"row 2: '{LARGE}' is 7.5; it must be from 0 to 1"),
        ({f"{SMALL}|total_cost": [0.1, -1, 0.1]}, [], "is -1; it must be from 0"),
        ({f"{SMALL}|total_cost": [0.1, float("inf"), 0.1]}, [], "is inf"),
        ({f"{SMALL}|total_cost": [0.1, None, 0.1]}, [], f"row 2: {SMALL} has a quality and no"),
        ({LARGE: ["good", "bad", "good"]}, [], "does not hold numbers"),
        ({"sample_id": ["a", "b", "a"]}, [], "row 3: sample_id 'a' comes twice"),
        ({"sample_id": ["a", None, "c"]}, [], "row 2: sample_id None is empty"),
        ({}, ["--models", "gpt-5"], "no column 'gpt-5'; it has sample_id"),
        ({}, ["--id", "key"], "no column 'key'"),
        ({}, ["--cost", "price of {model}"], "Say how with --cost"),
        ({}, ["--cost", "price"], "it needs {model}"),
    ],
)
def test_what_cannot_be_used_is_named_in_one_line(
    tmp_path: Path,
    change: dict[str, list[Any]],
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, out = written(tmp_path / "w.parquet", ROWS | change), tmp_path / "out.parquet"
    assert run(["import", "wide", str(path), "--out", str(out), *options]) == 1
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1 and not out.exists()


def test_a_pickle_or_any_other_file_is_no_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "routerbench_0shot.pkl"
    path.write_bytes(b"\x80\x04\x95garbage")
    assert run(["import", "wide", str(path), "--out", str(tmp_path / "out.parquet")]) == 1
    assert "ends in .parquet or .csv" in capsys.readouterr().err


def test_more_models_than_a_ladder_has_stages_are_chosen_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"m{n:02d}" for n in range(11)]
    rows: dict[str, list[Any]] = {"sample_id": ["a", "b"]}
    rows |= {name: [0.0, 1.0] for name in names}
    rows |= {f"{name}|total_cost": [12.0 - n, 12.0 - n] for n, name in enumerate(names)}
    path, out = written(tmp_path / "w.csv", rows), tmp_path / "out.parquet"
    assert run(["import", "wide", str(path), "--out", str(out)]) == 1
    err = capsys.readouterr().err
    assert f"11 models; a ladder has at most {MAX_STAGES} stages" in err and not out.exists()
    assert "--models, of: m10, m09, m08, " in err  # cheapest first, as --models takes them
    table = imported(path, "--models", "m10, m05,m00")
    assert [stage.name for stage in table.stages] == ["m10", "m05", "m00"]


@pytest.mark.parametrize("spelling", ["w.parquet", "sub/../w.parquet", "link.parquet"])
def test_a_table_is_never_written_over_the_one_it_is_made_from(
    tmp_path: Path, spelling: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "w.parquet", ROWS)
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.parquet").symlink_to(path)
    before = path.read_bytes()
    assert run(["import", "wide", str(path), "--out", str(tmp_path / spelling)]) == 1
    err = capsys.readouterr().err
    assert "which is read, would be lost" in err and err.count("\n") == 1
    assert path.read_bytes() == before
    assert run(["import", "wide", str(path), "--out", str(tmp_path / "t.txt")]) == 1
    assert "ends in .parquet or .csv" in capsys.readouterr().err
