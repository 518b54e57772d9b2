"""`adaptive-sd bench draft`: what cannot be run is said before any model is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from adaptive_sd.cli import run


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--draft-stage", "huge"], "'huge': choose one of smollm2-135m, qwen2.5-coder-0.5b."),
        (["--draft-stage", "qwen2.5-coder-1.5b"], "choose one of"),
        (["--out", "/dev/null/results"], "/dev/null/results: cannot be made"),
    ],
)
def test_what_cannot_be_run_is_one_line(
    options: list[str], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["bench", "draft", "squad-subset", *options]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and error in said and said.count("\n") == 1


def test_an_unknown_set_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "draft", "squad-subset", "sqad", "--out", str(tmp_path)]) == 1
    assert "no task set 'sqad'" in capsys.readouterr().err
