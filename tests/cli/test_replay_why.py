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
        (
            ["--why", "p001", "--lambda", "-1"],
            1,
            "lambda is -1.0; it must be finite and at least 0",
        ),
        (["--why", "p001", "--lambda", "1e9"], 1, "is fitted for 0 to 600"),
        (["--policies", "adaptive,oracel"], 1, "no policy 'oracel'; known: "),
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


@pytest.mark.parametrize("lam", ["-1", "nan", "1e9"])
def test_a_bad_lambda_is_told_before_anything_is_fitted(
    lam: str, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fits(*args: object, **options: object) -> None:
        raise AssertionError("it fits")

    monkeypatch.setattr("adaptive_sd.offline.report.explained.Field", fits)
    assert run(["replay", table, "--why", "p001", "--lambda", lam]) == 1


def test_a_table_without_evidence_says_in_one_line_what_it_lacks_and_tells_no_auc(
    table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["replay", table, "--policies", "adaptive,oracle", "--bootstrap", "2"]
    assert run(asked) == 0
    [said] = [line for line in capsys.readouterr().err.splitlines() if "evidence" in line]
    assert "nothing tells one prompt from another" in said and "oracle hold" in said
    assert run(["fit", table, "--out", str(tmp_path / "a")]) == 0
    out, err = capsys.readouterr()
    assert said in err and out.count("AUC none,") == 3
    told = [row | {"prompt": f"who {row['prompt_id']}"} for row in rows()]
    write(tmp_path / "prompts.parquet", told)
    assert run(["replay", str(tmp_path / "prompts.parquet"), *asked[2:]]) == 0
    assert "only the prompt decides" in capsys.readouterr().err
    write(tmp_path / "full.parquet", [row | {"tokens_out": 5} for row in told])
    assert run(["replay", str(tmp_path / "full.parquet"), *asked[2:]]) == 0
    assert "evidence of drafts" not in capsys.readouterr().err
