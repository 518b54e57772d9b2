"""`adaptive-sd answer` on a tiny random model: documents, exit codes, traces, bad input."""

from __future__ import annotations

import io
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from adaptive_sd.build import DEFAULT_ARTIFACT
from adaptive_sd.cli import run

pytestmark = pytest.mark.skipif(
    not DEFAULT_ARTIFACT.exists(), reason="no artifact is shipped in this checkout"
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADAPTIVE_SD_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def ladder(tiny_path: Path, home: Path) -> list[str]:
    """Options of a ladder of one tiny model, short answers."""
    return ["--stages", str(tiny_path), "--max-tokens", "8", "--context", "512"]


def test_json_is_one_document_with_the_fields_of_the_contract(
    ladder: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["answer", "hello", "--json", *ladder]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {"trace_id", "text", "quality", "cost", "cost_unit", "lambda"} <= document.keys()
    assert document["calibrated"] is False and document["cost_unit"] == "s"
    assert [step["action"] for step in document["trace"]] == ["draft"]
    assert document["cost"] == pytest.approx(sum(s["cost"] for s in document["trace"]))


def test_caps_and_abstention_reach_every_prompt_of_a_file(
    ladder: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "hello"}\n{"prompt": "hello again"}\n')
    asked = ["answer", "--file", str(path), *ladder]
    for options, degraded, abstained in (
        (["--max-cost", "1e9", "--deadline", "1e9", "--abstain-below", "0"], False, False),
        (["--max-cost", "1e-9"], True, False),
        (["--deadline", "1e-9"], True, False),
        (["--abstain-below", "1"], False, True),
    ):
        assert run([*asked, *options]) == 0
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [line["degraded"] for line in lines] == [degraded] * 2
        assert [line["abstained"] for line in lines] == [abstained] * 2
        assert all((line["text"] is None) == abstained for line in lines)
        for line in lines:
            assert line["trace"][-1]["action"] == ("abstain" if abstained else "draft")
            for told in (line["opening"], *line["trace"]):
                for found in told["alternatives"]:
                    loss = found["cost"] + line["lambda"] * (1 - found["quality"])
                    assert found["loss"] == pytest.approx(loss)


def test_no_answer_is_one_line_and_a_degraded_one_is_marked(
    ladder: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["answer", "hello", "--abstain-below", "1", "--explain", *ladder]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("no answer: no stage is good enough; the best draft, of ")
    assert out.count("\n") == 1 and "abstain quality" in err and ", abstained" in err
    assert run(["answer", "hello", "--deadline", "1e-9", "--explain", *ladder]) == 0
    explained = capsys.readouterr().err
    assert run(["answer", "hello", "--deadline", "1e-9", *ladder]) == 0
    plain = capsys.readouterr().err
    assert plain.count("\n") == 1
    for told in (plain, explained):
        assert told.count(", not the whole answer, degraded: ") == 1
        assert "was cut at the deadline, 1e-09 s" in told
    assert "not calibrated" not in plain and "adaptive-sd calibrate" not in explained


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["answer", "x", "--max-cost", "0"], "max_cost is 0.0; it must be finite and above 0"),
        (["answer", "x", "--file", "y"], "one of the two"),
        (["answer", "x", "--bogus"], "No such option: --bogus"),
        (["feedback", "x"], "Missing argument 'word'"),
        (["bogus"], "No such command 'bogus'"),
    ],
)
def test_bad_usage_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1 and told in err


@pytest.mark.parametrize("arguments", [[], ["bench"]])
def test_no_command_shows_the_commands(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert run(arguments) == 2
    assert "error" not in "".join(capsys.readouterr())


def test_an_explanation_says_how_to_calibrate_and_goes_to_stderr(
    ladder: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["answer", "hello", "--explain", *ladder]) == 0
    out, err = capsys.readouterr()
    assert "adaptive-sd calibrate" in err and "adaptive-sd record" in err and "lambda" in err
    assert "lambda" not in out


def test_a_prompt_is_read_from_stdin_and_prompts_from_a_file(
    ladder: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("hello"))
    assert run(["answer", "-", "--json", *ladder]) == 0
    alone = json.loads(capsys.readouterr().out)
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "hello"}\n\n{"prompt": "hello"}\n')
    assert run(["answer", "--file", str(path), *ladder]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["text"] for line in lines] == [alone["text"]] * 2


def test_a_trace_is_kept_for_the_owner_only_and_without_the_text(
    ladder: list[str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["answer", "a secret", "--json", *ladder]) == 0
    given = json.loads(capsys.readouterr().out)
    assert run(["answer", "not secret", "--keep-prompt", "--json", *ladder]) == 0
    path = home / "traces.sqlite"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    rows = sqlite3.connect(path).execute("SELECT trace_id, prompt, answer FROM trace").fetchall()
    assert rows[0][:2] == (given["trace_id"], None) and json.loads(rows[0][2])["text"] is None
    assert rows[1][1] == "not secret" and json.loads(rows[1][2])["text"] is not None


def test_the_seed_decides_a_sampled_answer(
    ladder: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    texts = []
    for seed in ("1", "1", "2"):
        assert run(["answer", "hi", "--temperature", "1", "--seed", seed, *ladder]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["answer"], 2, "give a prompt"),
        (["answer", "x", "--no-such-flag"], 2, "No such option"),
        (["no-such-command"], 2, "No such command"),
        (["answer", "x", "--lambda", "much"], 2, "--lambda"),
        (["answer", "", "--stages", "TINY"], 1, "the prompt is empty"),
        (["answer", "x", "--stages", "qwen-0.5b", "--offline"], 1, "qwen2.5-coder-0.5b"),
        (["answer", "x", "--stages", "smollm2-135m", "--offline"], 1, "models pull smollm2-135m"),
        (["answer", "x", "--stages", "llama-3-13b"], 1, "no 13B of Llama 3"),
        (["answer", "x", "--stages", "TINY,TINY"], 1, "comes twice"),
        (["answer", "x", "--stages", "TINY", "--temperature", "-1"], 1, "temperature is -1"),
        (["answer", "x", "--stages", "TINY", "--lambda", "-1"], 1, "lambda is -1"),
        (["answer", "x", "--lambda", "2", "--target-quality", "0.9"], 2, "give one of --lambda"),
        (["answer", "x", "--budget", "2", "--target-quality", "0.9"], 2, "give one of --lambda"),
        (["answer", "x", "--max-cost", "0"], 2, "max_cost is 0"),
        (["answer", "x", "--max-cost", "nan"], 2, "max_cost is nan"),
        (["answer", "x", "--deadline", "-1"], 2, "deadline_s is -1"),
        (["answer", "x", "--deadline", "inf"], 2, "deadline_s is inf"),
        (["answer", "x", "--abstain-below", "1.5"], 2, "abstain_below is 1.5"),
        (["answer", "x", "--stages", "TINY", "--budget", "2"], 1, "nothing is certified"),
        (["answer", "x", "--stages", "TINY", "--target-quality", "0.9"], 1, "`adaptive-sd fit"),
        (["answer", "x", "--stages", "TINY", "--context", "0"], 1, "context is 0"),
        (["answer", "y " * 500_000, "--stages", "TINY"], 1, "has a context of"),
        (["answer", "x", "--config", "/none.toml"], 1, "/none.toml: cannot be read"),
        (["answer", "--file", "/none.jsonl"], 1, "/none.jsonl: cannot be read"),
    ],
)
def test_bad_input_is_one_line_and_an_exit_code(
    arguments: list[str],
    code: int,
    said: str,
    tiny_path: Path,
    home: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [argument.replace("TINY", str(tiny_path)) for argument in arguments]
    assert run(given) == code
    out, err = capsys.readouterr()
    assert out == "" and said in err and "Traceback" not in err
    if code == 1:
        assert len(err.strip().splitlines()) == 1


def test_a_damaged_model_is_named_and_never_loaded(
    tiny_path: Path, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = tmp_path / "short.gguf"
    short.write_bytes(tiny_path.read_bytes()[:-1000])
    assert run(["answer", "x", "--stages", str(short)]) == 1
    assert "short.gguf" in capsys.readouterr().err


def test_a_home_that_cannot_be_written_is_named(
    ladder: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ADAPTIVE_SD_HOME", str(tmp_path / "file" / "home"))
    assert run(["answer", "x", *ladder]) == 0  # the answer is there, its trace is not
    out, err = capsys.readouterr()
    assert out and "warning: " in err and "ADAPTIVE_SD_HOME" in err


def test_ctrl_c_ends_with_130_and_leaves_no_trace(tiny_path: Path, home: Path) -> None:
    program = (  # in a background job the signal would be ignored from the start
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from adaptive_sd.cli import main; main()"
    )
    command = [sys.executable, "-c", program]
    command += ["answer", "hello", "--stages", str(tiny_path), "--max-tokens", "100000"]
    command += ["--context", "100000"]
    child = subprocess.Popen(
        command, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline_s = time.monotonic() + 60
    while not (home / "rates.json").exists() and time.monotonic() < deadline_s:
        time.sleep(0.05)  # rates are measured before the first answer
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130, err
    assert err.strip().splitlines()[-1] == "interrupted"
    assert not (home / "traces.sqlite").exists()
