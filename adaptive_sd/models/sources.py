"""Where model bytes come from; each try is a child process that ends when no bytes come."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

FetchHubFile = Callable[[str, str, Path], Path | None]
"""(repository, file, folder) to the fetched file; None when the hub lacks it or is not reached.

Raises SourceError when it refuses.
"""
FetchHubFolder = Callable[[str, Path, Sequence[str]], bool]
"""(repository, folder, patterns): whether all its files of these kinds are there now.

Raises SourceError when the hub refuses.
"""
FetchPackage = Callable[[str, Path], None]
"""(requirement, folder): puts one wheel into the folder. Raises SourceError."""

_HUB_PROGRAM = (
    "import sys, huggingface_hub as h; h.hf_hub_download(*sys.argv[1:3], local_dir=sys.argv[3])"
)
_HUB_FOLDER_PROGRAM = (
    "import sys, huggingface_hub as h; h.snapshot_download(sys.argv[1], local_dir=sys.argv[2], "
    "allow_patterns=sys.argv[3:], ignore_patterns=['*/*', 'consolidated*'])"
)
_REFUSAL = re.compile(r"GatedRepoError|\b40[13] Client Error|Client error '40[13] ")
"""In its client's errors, where the hub wants to know first who asks."""
_PIP = (
    *("-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir", "--only-binary=:all:"),
    *("--disable-pip-version-check", "--timeout=4", "--retries=0", "--dest"),
)


class SourceError(Exception):
    """A source did not give what was asked of it, and why, in one line."""


class Patience(NamedTuple):
    """Longest silences that are waited for: before the first byte, and between bytes."""

    first_s: float
    later_s: float


class Child(Protocol):
    """A process; `wait` raises subprocess.TimeoutExpired where it takes longer."""

    def wait(self, timeout: float | None = None) -> int: ...


_SIGN_OF_LIFE = 1 << 15  # bytes; clients write a few of their own before they reach anything
HUB_PATIENCE = Patience(4, 30)  # the client tries again and again where there is no network
INDEX_PATIENCE = Patience(60, 60)
_HUB_ENVIRONMENT = {"HF_HUB_ETAG_TIMEOUT": "3", "HF_HUB_DISABLE_TELEMETRY": "1"}


def hub_file(repo: str, file: str, folder: Path) -> Path | None:
    """Fetch with the hub's own client, which goes on with what is in `folder`."""
    whole = folder / file
    is_here = _run_hub([_HUB_PROGRAM, repo, file, str(folder)], folder)
    return whole if is_here and whole.is_file() else None


def hub_folder(repo: str, folder: Path, patterns: Sequence[str]) -> bool:
    """Fetch a repository's files of these kinds, as `hub_file` does.

    Not those in folders of it, which are other forms of the same, nor copies of the weights.
    """
    return _run_hub([_HUB_FOLDER_PROGRAM, repo, str(folder), *patterns], folder)


def _run_hub(program: Sequence[str], folder: Path) -> bool:
    command = [sys.executable, "-c", *program]
    status, said = run_while_growing(command, folder, HUB_PATIENCE, _HUB_ENVIRONMENT)
    if status and _REFUSAL.search(said):
        raise SourceError(
            "the model hub refuses it: it is gated, private or not there; check the name, accept "
            "its terms on the hub and set HF_TOKEN"
        )
    return status == 0


def index_package(requirement: str, folder: Path) -> None:
    """Fetch a wheel with pip."""
    with contextlib.ExitStack() as stack:
        scratch = folder / "pip"  # pip downloads here first: growth shows, and it is one disk
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        scratch.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, *_PIP, str(folder), requirement]
        status, said = run_while_growing(command, folder, INDEX_PATIENCE, {"TMPDIR": str(scratch)})
    if status != 0:
        told = [
            line for line in said.splitlines() if line.startswith("ERROR") or "No module" in line
        ]
        reason = "it went silent" if status is None else "pip gave up"
        raise SourceError(f"{requirement}: {told[-1].strip() if told else reason}"[:300])


def run_while_growing(
    command: Sequence[str], folder: Path, patience: Patience, environment: Mapping[str, str]
) -> tuple[int | None, str]:
    """Run `command` as long as bytes keep coming into `folder`.

    Its exit status, None when it was ended for its silence, and its errors.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile() as stderr:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env=os.environ | environment,
        )
        try:
            status = wait_while_growing(child, folder, patience)
        finally:
            child.kill()
            child.wait()
        stderr.seek(0)
        return status, stderr.read(1 << 20).decode(errors="replace")


def wait_while_growing(child: Child, folder: Path, patience: Patience) -> int | None:
    """The status with which `child` ends, or None as soon as it is silent for too long."""
    seen, wait_s = _num_bytes(folder), patience.first_s
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return child.wait(wait_s)
        size = _num_bytes(folder)
        if size < seen + _SIGN_OF_LIFE:
            return None
        seen, wait_s = size, patience.later_s


def _num_bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # moved away by the child just now
            status = path.lstat()
            total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total
