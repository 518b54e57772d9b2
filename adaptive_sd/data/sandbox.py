"""Runs untrusted code in a process, PID, network and IPC namespace of its own, with limits."""

from __future__ import annotations

import functools
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, NamedTuple

_UNPRIVILEGED_ID = 64131
_RUNNER = Path(__file__).with_name("sandbox_runner.py")
_NO_SANDBOX = (
    "not graded: code runs only in a PID namespace of its own, which this system refuses "
    "(`unshare` of util-linux and user namespaces are needed)"
)


class CodeResult(NamedTuple):
    """Whether the test passed; None when the code could not be run safely."""

    passed: bool | None
    reason: str


def run_code(
    program: str,
    test: str,
    entry_point: str | None,
    *,
    wall_s: float = 10.0,
    memory_bytes: int = 1 << 30,
) -> CodeResult:
    """Run `program`, then `test`, then check(entry_point) where the test defines `check`.

    The code sees no other process and no network, runs without privileges in an empty folder,
    and ends with all that it started after `wall_s` at the latest. Where the kernel has Landlock
    it reads nothing but Python and the system's programs, and writes nowhere else; without it,
    started by root it has an id of its own, started by another user that user's rights.
    """
    if not sandbox_works():
        return CodeResult(None, _NO_SANDBOX)
    nonce = secrets.token_hex(16)
    task = {"program": program, "test": test, "entry_point": entry_point, "nonce": nonce}
    limits = {"cpu_s": int(wall_s) + 1, "memory_bytes": memory_bytes}
    try:
        return _run(json.dumps(task | limits) + "\n", nonce, wall_s)
    except OSError as error:  # no process, no disk: not the code's fault
        return CodeResult(None, f"not graded: the sandbox could not start ({error.strerror})")


def _run(task: str, nonce: str, wall_s: float) -> CodeResult:
    with tempfile.TemporaryDirectory(prefix="adaptive-sd-code-") as folder:
        reading, writing = os.pipe()
        try:
            with (Path(folder) / "stderr").open("w+", errors="replace") as stderr:
                process = _start(Path(folder), writing, stderr)
                os.close(writing)
                try:
                    process.communicate(task, timeout=wall_s)
                except subprocess.TimeoutExpired:
                    return CodeResult(False, f"took longer than {wall_s:g} s")
                finally:
                    process.kill()  # with --kill-child, all in the namespace goes with it
                    process.communicate()
                if _read(reading) == nonce.encode():
                    return CodeResult(True, "passed its test")
                stderr.seek(0)
                lines = stderr.read(1 << 20).strip().splitlines()
                return CodeResult(False, lines[-1][:200] if lines else "ended before its test did")
        finally:
            os.close(reading)


def _read(descriptor: int) -> bytes:
    os.set_blocking(descriptor, False)
    try:
        return os.read(descriptor, 100)
    except BlockingIOError:
        return b""


def _start(folder: Path, writing: int, stderr: IO[str]) -> subprocess.Popen[str]:
    workplace, prefix = folder / "work", folder / "python"
    workplace.mkdir()
    prefix.mkdir()
    if os.geteuid() == 0:
        folder.chmod(0o711)
        os.chown(workplace, _UNPRIVILEGED_ID, _UNPRIVILEGED_ID)
    script = f'{_inside(prefix)} -I -S -c "$1"'
    return subprocess.Popen(
        [*_namespace(), "sh", "-c", script, "sh", _RUNNER.read_text()],
        stdin=subprocess.PIPE,
        stdout=writing,
        stderr=stderr,
        text=True,
        cwd=workplace,
        env={"PATH": "/usr/bin:/bin", "HOME": str(workplace), "TMPDIR": str(workplace)},
        start_new_session=True,
    )


def _namespace() -> list[str]:
    own = ["unshare", "--pid", "--fork", "--kill-child", "--net", "--ipc", "--mount-proc"]
    return own if os.geteuid() == 0 else [*own, "--user", "--map-current-user"]


def _inside(prefix: Path) -> str:
    """Shell words that become the interpreter, without privileges.

    Root's interpreter may lie where nobody else can read, so it is mounted at another place.
    """
    python = Path(sys.executable).resolve()
    if os.geteuid() != 0:
        return f'exec "{python}"'
    base = Path(sys.base_prefix).resolve()
    ids = f"--reuid={_UNPRIVILEGED_ID} --regid={_UNPRIVILEGED_ID} --clear-groups --pdeathsig keep"
    return (
        f'mount --bind "{base}" "{prefix}" && '
        f'exec setpriv {ids} --no-new-privs "{prefix / python.relative_to(base)}"'
    )


@functools.cache
def sandbox_works() -> bool:
    """Whether namespaces can be made here and code in them is without privileges."""
    if shutil.which("unshare") is None or (os.geteuid() == 0 and shutil.which("setpriv") is None):
        return False
    nonce = secrets.token_hex(8)
    probe = (
        "import decimal, os, random, tempfile\nassert os.getpid() == 1 and os.geteuid() != 0\n"
        "tempfile.TemporaryFile().close()\n"
    )
    task = {"program": probe, "test": "", "entry_point": None, "nonce": nonce}
    result = _run(
        json.dumps(task | {"cpu_s": 5, "memory_bytes": 1 << 30}) + "\n", nonce, wall_s=20.0
    )
    return result.passed is True
