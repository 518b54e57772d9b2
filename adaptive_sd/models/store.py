"""Model files on this machine: found, verified, removed; never loaded when damaged."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from adaptive_sd.errors import DamagedModelError
from adaptive_sd.models.catalogue import CatalogueEntry, find, load_catalogue, unknown_model
from adaptive_sd.models.download import ShowProgress, pull, pull_hub_file
from adaptive_sd.models.gguf import read_header
from adaptive_sd.models.home import models_dir


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A whole, checked file."""

    path: Path
    name: str
    sha256: str
    num_parameters: int


def file_of(entry: CatalogueEntry) -> Path:
    return models_dir() / f"{entry.name}.gguf"


def resolve(
    name: str, *, offline: bool = False, show_progress: ShowProgress | None = None
) -> ResolvedModel:
    """The file for a catalogue name (fetched if absent), a GGUF path or a hub id.

    Raises UnknownModelError, DamagedModelError, DownloadError.
    """
    if name in load_catalogue():
        entry = find(name)
        if not file_of(entry).exists():
            pull(entry, file_of(entry), show_progress=show_progress, offline=offline)
        return verify(entry)
    path = Path(name).expanduser()
    if path.suffix == ".gguf" and ":" not in name:
        if not path.is_file():
            raise unknown_model(name)
        return _own_file(path, path.stem)
    if name.count("/") == 1 and name.rpartition(":")[2].endswith(".gguf"):
        repo, _, file = name.partition(":")
        cached = models_dir() / f"{repo.replace('/', '--')}--{file}"
        if not cached.exists():
            pull_hub_file(repo, file, cached, offline=offline)
        return _own_file(cached, name)
    raise unknown_model(name)


def _own_file(path: Path, name: str) -> ResolvedModel:
    return ResolvedModel(path, name, _known_hash(path), read_header(path).num_parameters)


def verify(entry: CatalogueEntry, *, again: bool = False) -> ResolvedModel:
    """Check size and sha256; raises DamagedModelError with the command that mends it.

    The hash of an unchanged file (size and time of change) is remembered unless `again`.
    """
    path = file_of(entry)
    mend = f"fetch it again with `adaptive-sd models pull {entry.name}`"
    if not path.exists():
        raise DamagedModelError(f"{path}: not here; {mend}.")
    size = path.stat().st_size
    if size != entry.bytes:
        raise DamagedModelError(f"{path}: {size} bytes instead of {entry.bytes}; {mend}.")
    found = _known_hash(path, again=again)
    if found != entry.sha256:
        raise DamagedModelError(f"{path}: sha256 is {found[:12]}…, not the expected; {mend}.")
    return ResolvedModel(path, entry.name, found, entry.num_parameters)


def remove(name: str) -> bool:
    """Delete a catalogue model's file and what is kept of it; False when it was not there."""
    path = file_of(find(name))
    existed = path.exists()
    path.unlink(missing_ok=True)
    _note_of(path).unlink(missing_ok=True)
    return existed


def _known_hash(path: Path, *, again: bool = False) -> str:
    stat = path.stat()
    key = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
    note = _note_of(path)
    if not again:
        try:
            size, mtime_ns, ctime_ns, known = json.loads(note.read_text())
            if [size, mtime_ns, ctime_ns] == key and isinstance(known, str):
                return known
        except (OSError, ValueError, TypeError):
            pass  # no note or a damaged one: hash the file
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if os.access(path.parent, os.W_OK) and path.parent == models_dir():
        note.write_text(json.dumps([*key, found]))
    return found


def _note_of(path: Path) -> Path:
    return path.with_name(path.name + ".sha256.json")
