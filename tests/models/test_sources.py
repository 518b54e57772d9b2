"""A try that brings no bytes ends; one that brings some is waited for."""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path

import pytest

from adaptive_sd.models.sources import Patience, SourceError, index_package, run_while_growing

LONG = Patience(60, 60)


def run(program: str, folder: Path, patience: Patience) -> tuple[int | None, str]:
    command = [sys.executable, "-c", program, str(folder)]
    return run_while_growing(command, folder, patience, {"GREETING": "hello"})


@pytest.mark.parametrize(
    "program",
    [
        "import time; time.sleep(20)",
        # a client's own notes and its complaints are no sign of life
        "import sys, time\nwith open(sys.argv[1] + '/.notes', 'ab', 0) as notes:\n"
        "    for _ in range(200): notes.write(b'x'); time.sleep(.1)\n",
        "import sys, time\n"
        "for _ in range(200): print('retry ' * 999, file=sys.stderr); time.sleep(.1)",
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(20)",
    ],
)
def test_a_silent_child_is_ended_before_it_is_done(tmp_path: Path, program: str) -> None:
    (tmp_path / "part000").write_bytes(bytes(1 << 20))  # kept from before: not this child's doing
    assert run(program, tmp_path, Patience(2, 60))[0] is None


def test_an_ended_child_is_gone(tmp_path: Path) -> None:
    command = ["sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 600"]
    assert run_while_growing(command, tmp_path / "parts", Patience(1, 1), {})[0] is None
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


GROWS = 'head -c 1000000 /dev/zero > "$0/x"; exec sleep '


def test_a_child_that_goes_silent_after_a_while_is_ended(tmp_path: Path) -> None:
    command = ["sh", "-c", GROWS + "600", str(tmp_path)]
    assert run_while_growing(command, tmp_path, Patience(2, 0.5), {})[0] is None


def test_a_child_that_brings_bytes_is_waited_for_beyond_its_first_wait(tmp_path: Path) -> None:
    command = ["sh", "-c", GROWS + "4", str(tmp_path)]
    assert run_while_growing(command, tmp_path, Patience(2, 60), {})[0] == 0


def test_exit_status_and_errors_come_back(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    program = "import os, sys; print(os.environ['GREETING'], file=sys.stderr); sys.exit(3)"
    assert run(program, folder, LONG) == (3, "hello\n")
    assert list(folder.iterdir()) == []


def test_a_package_that_cannot_be_had_is_one_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CONSTRAINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # pip looks nowhere: no network is used
    with pytest.raises(SourceError, match=r"adaptive-sd-no-such-package==1\.0") as caught:
        index_package("adaptive-sd-no-such-package==1.0", tmp_path / "wheel")
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "wheel").iterdir()) == []


def test_a_package_comes_as_one_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf, folder = tmp_path / "shelf", tmp_path / "wheel"
    shelf.mkdir()
    info = "piece-1.0.dist-info"
    with zipfile.ZipFile(shelf / "piece-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("piece/data/part.bin", b"bytes")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: piece\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    index_package("piece==1.0", folder)
    assert [path.name for path in folder.iterdir()] == ["piece-1.0-py3-none-any.whl"]
