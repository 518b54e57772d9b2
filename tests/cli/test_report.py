"""`adaptive-sd report`: files whole or not at all, one line for what it cannot use."""

from __future__ import annotations

from pathlib import Path

import pytest

from adaptive_sd.cli import run
from adaptive_sd.errors import ConfigError
from adaptive_sd.offline.report.figures import Drawing
from adaptive_sd.offline.report.publish import check_out, publish
from tests.offline.report.tables import bare_csv

PLOTS = ("areas", "calibration", "frontier", "importance", "stopping")


def test_a_table_of_the_required_columns_becomes_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, out = bare_csv(tmp_path / "t.csv", 110), tmp_path / "page.html"
    assert run(["report", str(table), "--out", str(out), "--bootstrap", "5", "--lambda", "9"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "" and str(out) in printed.err
    found = sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".csv")
    assert found == sorted(["page.html", *(f"page.{plot}.png" for plot in PLOTS)])
    page = out.read_text(encoding="utf-8")
    assert "The table has no latencies" in page and "given; recommended:" in page
    assert "The table has no text of this prompt." in page and page.rstrip().endswith("</html>")
    assert f"adaptive-sd report {table} --out {out} --lambda 9.0 --bootstrap 5 --seed 0" in page
    assert (tmp_path / "page.areas.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("table", "out", "said", "code"),
    [
        ("none.parquet", "page.html", "none.parquet", 1),
        ("t.csv", "t.csv", "a name that ends in .html", 1),
        ("t.csv", "missing/page.html", "no such folder", 1),
        ("t.csv", "folder.html", "is a folder", 1),
        ("t.csv", "page.html", "a replay needs 50 and 2", 1),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_file(
    table: str,
    out: str,
    said: str,
    code: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bare_csv(tmp_path / "t.csv", 20)
    (tmp_path / "folder.html").mkdir()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert run(["report", str(tmp_path / table), "--out", str(tmp_path / out)]) == code
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_out_is_needed_and_a_lambda_is_not_negative(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", "t.csv"]) == 2
    assert run(["report", "t.csv", "--out", "x.html", "--lambda", "-1"]) == 2


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("old")
    (tmp_path / "page.frontier.png").mkdir()  # in the way of the plot
    with pytest.raises(OSError):
        publish(path, "new", [Drawing("frontier", "", "", "", b"png")])
    assert path.read_text() == "old"
    assert not list(tmp_path.glob(".*"))


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        check_out(tmp_path / "a" / "b.html")
