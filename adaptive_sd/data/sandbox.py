"""Runs untrusted code in namespaces of its own, with limits and without privileges or sockets."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import secrets
import shlex
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from adaptive_sd.data.seccomp import forbidden_calls

NUM_PROCESSES = 8
FOLDER_BYTES = 16 << 20
_FILE_BYTES = 1 << 20
_START_S = 60.0
_FIRST_UNPRIVILEGED_ID, _NUM_UNPRIVILEGED_IDS = 64131, 1024
_NAMESPACES = ("--pid", "--fork", "--kill-child", "--net", "--ipc", "--mount-proc")
_RUNNER = Path(__file__).with_name("sandbox_runner.py")
_NEEDED = (
    "code runs only in namespaces of its own (unshare, mount and setpriv of util-linux, user "
    "namespaces) under a seccomp filter"
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
    memory_bytes: int = 1 << 29,
) -> CodeResult:
    """Run `program`, then `test`, then check(entry_point) where the test defines `check`.

    The code sees no other process and no network, opens no socket, runs without privileges in an
    empty folder, and ends with all that it started `wall_s` after its start at the latest. Where
    the kernel has Landlock it reads nothing but Python and the system's programs, and writes
    nowhere else; without it, started by root it has an id of its own, started by another user
    that user's rights.

    Its processes and threads are NUM_PROCESSES at most, each process has `memory_bytes` of
    addresses, and the folder is memory too: in all NUM_PROCESSES * memory_bytes + FOLDER_BYTES
    (4.02 GiB as it stands) and the kernel's own small buffers. No cgroup is asked for: few may
    make one, and the same answer should have the same grade everywhere.

    None, with the reason, whenever the program did not come to be run. What an answer can still
    forge: see sandbox_runner.
    """
    around = int(os.geteuid() != 0)  # a user's namespace counts `unshare` too
    limits = {
        "RLIMIT_CPU": int(wall_s) + 1,
        "RLIMIT_AS": memory_bytes,
        "RLIMIT_FSIZE": _FILE_BYTES,
        "RLIMIT_NPROC": NUM_PROCESSES + around,
        "RLIMIT_NOFILE": 32,
        "RLIMIT_CORE": 0,
    }
    task = {
        "program": program,
        "entry_point": entry_point,
        "filter": forbidden_calls().hex(),
        "limits": limits,
    }
    try:
        with tempfile.TemporaryDirectory(prefix="adaptive-sd-code-") as folder:
            sent = test.encode(errors="surrogatepass")
            return _run(Path(folder), json.dumps(task), sent, wall_s)
    except OSError as error:  # no process, no disk: not the code's fault
        return _not_graded(error.strerror or str(error))


@functools.cache
def sandbox_works() -> bool:
    """Whether code can be run here at all."""
    return run_code("", "", None).passed is True


def _not_graded(reason: str) -> CodeResult:
    return CodeResult(None, f"not graded: the sandbox did not start ({reason}); {_NEEDED}")


def _run(folder: Path, task: str, test: bytes, wall_s: float) -> CodeResult:
    token = secrets.token_hex(16).encode()
    heard = b""
    with (folder / "stderr").open("w+", errors="replace") as stderr:
        with _started(folder, stderr) as process:
            with _at_most(_START_S, process) as late:
                started = _ask(process, task.encode() + b"\n") == b"started\n"
            if started:
                with _at_most(wall_s, process) as late:
                    heard = _hear(process)
                    if heard == b"loaded\n":
                        heard = _ask(process, b"%016d" % len(test) + test + token)
        if heard == token + b"\n":
            return CodeResult(True, "passed its test")
        if not started:
            return _not_graded("it took too long" if late.is_set() else _last_line(stderr))
        if late.is_set():
            return CodeResult(False, f"took longer than {wall_s:g} s")
        if heard:
            return CodeResult(False, "wrote where only the sandbox may")
        return CodeResult(False, _last_line(stderr))


def _ask(process: subprocess.Popen[bytes], message: bytes) -> bytes:
    """The line that answers the message; no line if the process has ended."""
    assert process.stdin is not None
    unsent = memoryview(message)
    with contextlib.suppress(BrokenPipeError):
        while unsent:
            unsent = unsent[process.stdin.write(unsent) :]
    return _hear(process)


def _hear(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline(100)


def _last_line(stderr: IO[str]) -> str:
    stderr.seek(0)
    lines = stderr.read(_FILE_BYTES).strip().splitlines()
    return lines[-1][:200] if lines else "ended before its test did"


@contextlib.contextmanager
def _at_most(seconds: float, process: subprocess.Popen[bytes]) -> Iterator[threading.Event]:
    """Kill the process when the time is over; the event says that it was."""
    late = threading.Event()

    def end() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(seconds, end)
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()
        timer.join()


@contextlib.contextmanager
def _started(folder: Path, stderr: IO[str]) -> Iterator[subprocess.Popen[bytes]]:
    """The runner, waiting for its task; killed at the end with all that it started."""
    work = folder / "work"
    work.mkdir()
    own_user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    process = subprocess.Popen(
        [
            "unshare",
            *_NAMESPACES,
            *own_user,
            "sh",
            "-c",
            _inside(folder, work),
            "sh",
            _RUNNER.read_text(),
        ],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        cwd=work,
        env={"PATH": "/usr/bin:/bin", "HOME": str(work), "TMPDIR": str(work)},
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()  # with --kill-child, all in the namespace goes with it


def _inside(folder: Path, work: Path) -> str:
    """Shell words that give up all rights and become the interpreter in a folder of memory.

    Root's interpreter may lie where nobody else can read, so it is mounted at another place.
    """
    base, libraries = Path(sys.base_prefix).resolve(), ""
    place = f"size={FOLDER_BYTES},nr_inodes=1024,nosuid,nodev,mode=700"
    rights = "--no-new-privs --pdeathsig keep --inh-caps=-all --ambient-caps=-all"
    steps = []
    if os.geteuid() == 0:
        prefix = folder / "python"
        prefix.mkdir()
        folder.chmod(0o711)
        steps.append(f"mount --bind {shlex.quote(str(base))} {shlex.quote(str(prefix))}")
        base = prefix
        libraries = f"env LD_LIBRARY_PATH={shlex.quote(str(prefix / 'lib'))} "
        # An id of its own: RLIMIT_NPROC counts all processes of an id.
        own = _FIRST_UNPRIVILEGED_ID + secrets.randbelow(_NUM_UNPRIVILEGED_IDS)
        place += f",uid={own},gid={own}"
        rights += f" --reuid={own} --regid={own} --clear-groups"
    else:
        rights += " --bounding-set=-all"  # else the namespace's root has them back after exec
    quoted = shlex.quote(str(work))
    steps.append(f"mount -t tmpfs -o {place} none {quoted}")
    steps.append(f"cd {quoted}")
    python = base / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    steps.append(f'exec setpriv {rights} {libraries}{shlex.quote(str(python))} -I -S -c "$1"')
    return " && ".join(steps)
