"""`adaptive-sd replay --why`: one prompt explained, for people and as one document."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adaptive_sd.cli import run
from tests.cli.test_tables import rows, write


@pytest.fixture
def table(tmp_path: Path) -> str:
    write(tmp_path / "table.parquet", rows())
    return str(tmp_path / "table.parquet")


def test_one_prompt_is_explained(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["replay", table, "--why", "p001", "--lambda", "5"]
    assert run([*asked, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["prompt_id"], document["lambda"]) == ("p001", 5.0)
    assert [stage["cost"] for stage in document["stages"]] == [1.0, 2.0, 3.0]
    assert document["cost"] == sum(stage["cost"] for stage in document["stages"] if stage["ran"])
    assert run(asked) == 0
    out = capsys.readouterr().out
    assert "before any draft" in out and "in truth" in out
    assert f"{document['stage']} is returned: quality {document['quality']:.2f}" in out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--why", "p000"], 1, "in the half to fit on"),
        (["--why", "q001"], 1, "the nearest are 'p001'"),
        (["--lambda", "5"], 2, "is of --why"),
        (["--why", "p001", "--policies", "adaptive"], 2, "leave out --policies"),
        (["--why", "p001", "--seeds", "2"], 2, "leave out --policies and --seeds"),
    ],
)
def test_what_cannot_be_explained_is_told(
    arguments: list[str], code: int, said: str, table: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["replay", table, *arguments]) == code
    out, err = capsys.readouterr()
    assert out == "" and said in " ".join(err.replace("│", " ").split())
