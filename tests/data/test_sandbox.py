"""Hostile answers fail alone."""

from __future__ import annotations

import ctypes
import os
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from adaptive_sd.data.sandbox import run_code, sandbox_works

pytestmark = pytest.mark.skipif(not sandbox_works(), reason="code cannot be run here")

CHECK = "def check(candidate):\n    assert candidate(1) == 2\n"
RIGHT = "def f(x):\n    return x + 1\n"


def test_right_and_wrong_code() -> None:
    assert run_code(RIGHT, CHECK, "f").passed is True
    assert run_code("def f(x):\n    return x\n", CHECK, "f").passed is False
    assert run_code(RIGHT, "assert f(1) == 2", None).passed is True
    assert run_code("def g(x): pass", CHECK, "f").passed is False
    assert "SyntaxError" in run_code("def f(:", CHECK, "f").reason
    assert run_code("\ud800", CHECK, "f").passed is False
    assert run_code(RIGHT, "'\ud800'", "f").passed is False
    long = "'" + "x" * (1 << 20) + "'\n"  # more than a pipe takes
    assert run_code(long + RIGHT, long + CHECK, "f").passed is True


@pytest.mark.parametrize(
    "attack",
    [
        "import sys\nsys.exit(0)",
        "import os\nos._exit(0)",
        "print('passed its test')",
        "import os\nos.kill(os.getppid(), 9)\nos._exit(0)",
        "import os\nos.kill(-1, 9)\nos._exit(0)",
        "import os\nos.kill(0, 9)",
        "x = bytearray(10 * 1024**3)",
        "open('big', 'wb').write(b'x' * (1 << 24))",
        "import socket\nsocket.create_connection(('127.0.0.1', 22), timeout=2)",
        "import os\nos.listdir('/root/.cache') if os.getuid() != 0 else 1 / 0",
        "import sys\nwhile True:\n    sys.stderr.write('x' * 65536)",
    ],
)
def test_attacks_fail_their_own_answer_only(attack: str) -> None:
    assert run_code(attack + "\nraise RuntimeError", "", None, wall_s=5).passed is False
    assert run_code(RIGHT, CHECK, "f").passed is True


def test_an_endless_loop_ends_at_the_wall_clock() -> None:
    result = run_code("while True:\n    pass", "", None, wall_s=1)
    assert (result.passed, result.reason) == (False, "took longer than 1 s")


def _num_running() -> int:
    """Processes anywhere on this machine that still run the sandbox's program."""
    listed = subprocess.run(["ps", "-ww", "-eo", "args="], capture_output=True, text=True).stdout
    return sum("Runs one program inside the sandbox" in line for line in listed.splitlines())


def _num_running_soon() -> int:
    deadline_s = time.monotonic() + 10  # the kernel ends a namespace after its first process
    while _num_running() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    return _num_running()


def test_a_fork_bomb_leaves_no_process_behind() -> None:
    bomb = (
        "import os, time\nwhile True:\n    try:\n        os.fork()\n"
        "    except OSError:\n        time.sleep(60)\n"
    )
    assert run_code(bomb, "", None, wall_s=2).passed is False
    assert _num_running_soon() == 0
    assert run_code(RIGHT, CHECK, "f").passed is True


def test_code_sees_an_empty_folder_no_other_process_and_no_privileges() -> None:
    probe = (
        "import os\nassert os.listdir('.') == []\nassert os.getpid() == 1\n"
        "assert [d for d in os.listdir('/proc') if d.isdigit()] == ['1']\n"
        "held = [line.split() for line in open('/proc/self/status') if line[:3] == 'Cap']\n"
        "assert {name: int(rights, 16) for name, rights in held}['CapEff:'] == 0\n"
        "assert 'SECRET' not in os.environ\n"
    )
    os.environ["SECRET"] = "x"
    try:
        result = run_code(probe, "", None)
    finally:
        del os.environ["SECRET"]
    assert result.passed is True, result.reason


def test_code_reads_and_writes_its_own_folder_only() -> None:
    if ctypes.CDLL(None).syscall(444, None, 0, 1) < 1:
        pytest.skip("this kernel has no Landlock")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        secret = folder / "secret"
        secret.write_text("s3cret")
        secret.chmod(0o666)
        for attack in (
            f"open({str(secret)!r}).read()",
            f"open({str(secret)!r}, 'w')",
            f"import os; os.listdir({name!r})",
            f"import os; os.remove({str(secret)!r})",
            f"import subprocess; subprocess.check_call(['cat', {str(secret)!r}])",
            f"open({str(folder / 'new')!r}, 'w')",
            "open('/etc/passwd').read()",
            "import os; os.listdir('/')",
        ):
            result = run_code(attack, "", None)
            assert result.passed is False, attack
            assert "Permission" in result.reason or "CalledProcess" in result.reason, result.reason
        assert secret.read_text() == "s3cret" and os.listdir(name) == ["secret"]


def test_what_programs_need_is_there() -> None:
    """The standard library, temporary files, the clock and the system's programs."""
    program = (
        "import asyncio, collections, ctypes, datetime, decimal, hashlib, json, math, random, re\n"
        "import sqlite3, statistics, subprocess, tempfile, unittest, zlib, zoneinfo\n"
        "with tempfile.TemporaryDirectory() as folder:\n    open(folder + '/x', 'w').write('x')\n"
        "open('here', 'w').write('x')\nassert open('here').read() == 'x'\n"
        "assert subprocess.check_output(['echo', 'x']) == b'x\\n'\n"
        "datetime.datetime.now().astimezone()\nrandom.SystemRandom().random()\n"
        "sqlite3.connect('data.db').execute('CREATE TABLE t (x)')\n"
    )
    result = run_code(program, "", None)
    assert result.passed is True, result.reason


def test_what_runs_at_once_still_works() -> None:
    program = (
        "import asyncio, concurrent.futures, subprocess, threading, time\n"
        "async def one():\n    return await asyncio.to_thread(lambda: 1)\n"
        "assert asyncio.run(one()) == 1\n"
        "with concurrent.futures.ThreadPoolExecutor(5) as pool:\n"
        "    assert sum(pool.map(int, '12345')) == 15\n"
        "assert subprocess.check_output('echo 1 | cat | wc -l', shell=True) == b'1\\n'\n"
        "threading.Thread(target=time.sleep, args=(600,)).start()\n"
    )
    result = run_code(program, "", None)
    assert result.passed is True, result.reason


@pytest.mark.parametrize(
    "runner", ["raise SystemExit('no')", "import os; os._exit(0)", "x = [0] * 10**13", "def"]
)
def test_a_sandbox_that_does_not_start_grades_nothing(
    runner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "runner.py"
    broken.write_text(runner)
    monkeypatch.setattr("adaptive_sd.data.sandbox._RUNNER", broken)
    result = run_code(RIGHT, CHECK, "f")
    assert result.passed is None and "did not start" in result.reason, result.reason


def test_a_sandbox_that_takes_too_long_to_start_grades_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "runner.py"
    slow.write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setattr("adaptive_sd.data.sandbox._RUNNER", slow)
    monkeypatch.setattr("adaptive_sd.data.sandbox._START_S", 0.2)
    result = run_code("x" * (1 << 20), CHECK, "f")  # more than a pipe takes
    assert result.passed is None and "took too long" in result.reason, result.reason


@pytest.mark.parametrize("namespaces", [("--mount",), ("--no-such-namespace",)])
def test_without_namespaces_nothing_is_graded(
    namespaces: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adaptive_sd.data.sandbox._NAMESPACES", namespaces)
    result = run_code(RIGHT, CHECK, "f")
    assert result.passed is None and "did not start" in result.reason, result.reason


def test_without_a_filter_of_calls_nothing_is_graded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adaptive_sd.data.sandbox.forbidden_calls", lambda: b"")
    result = run_code(RIGHT, CHECK, "f")
    assert result.passed is None and "sockets could not be forbidden" in result.reason


def test_a_process_that_means_to_outlive_its_parent_does_not() -> None:
    program = "import ctypes, time\nctypes.CDLL(None).prctl(1, 0, 0, 0, 0)\ntime.sleep(600)\n"
    assert run_code(program, "", None, wall_s=1).passed is False
    assert _num_running_soon() == 0


def test_a_system_without_room_is_not_the_code_s_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    result = run_code(RIGHT, CHECK, "f")
    assert result.passed is None and "No such file" in result.reason


def test_nothing_is_left_in_the_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        assert run_code("open('left', 'w').write('x')", "", None).passed is True
        assert os.listdir(folder) == []
