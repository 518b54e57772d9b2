"""Model files on this machine: found, verified, removed; never loaded when damaged."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

from adaptive_sd.errors import DamagedModelError
from adaptive_sd.models.catalogue import (
    CatalogueEntry,
    find,
    load_catalogue,
    split_format,
    unknown_model,
)
from adaptive_sd.models.download import ShowProgress, pull, pull_hub_file
from adaptive_sd.models.formats import requantise
from adaptive_sd.models.gguf import read_header
from adaptive_sd.models.home import models_dir, writable_models_dir
from adaptive_sd.models.sources import FetchHubFile, hub_file

_HUB_ID = re.compile(r"([\w.-]+/[\w.-]+):((?:[\w.-]+/)*[\w.-]+\.gguf)")


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A whole, checked file."""

    path: Path
    name: str
    sha256: str
    num_parameters: int


def file_of(entry: CatalogueEntry, quant: str | None = None) -> Path:
    """Where the model's file lies, as it is fetched or in another format."""
    return models_dir() / f"{entry.name}{f'.{quant}' if quant else ''}.gguf"


def resolve(
    name: str,
    *,
    offline: bool = False,
    show_progress: ShowProgress | None = None,
    fetch_hub_file: FetchHubFile = hub_file,
) -> ResolvedModel:
    """The file for a catalogue name (fetched if absent), a GGUF path or a hub id.

    "NAME:QUANT" is a catalogue model in a format that the catalogue has for it, made when absent.
    Raises UnknownModelError, DamagedModelError, DownloadError.
    """
    base, quant = split_format(name)
    if base in load_catalogue() and (not quant or quant in find(base).formats):
        entry = find(base)
        if not file_of(entry).exists():
            pull(entry, file_of(entry), show_progress=show_progress, offline=offline)
        return in_format(entry, quant) if quant else verify(entry)
    path = Path(os.path.expanduser(name))
    if path.suffix == ".gguf" and os.path.isfile(path):
        return _own_file(path, path.stem)
    if (hub := _HUB_ID.fullmatch(name)) and ".." not in re.split("[/:]", name):
        repo, file = hub.groups()
        cached = models_dir() / f"{repo}--{file}".replace("/", "--")
        if not cached.exists():
            pull_hub_file(repo, file, cached, offline=offline, fetch_hub_file=fetch_hub_file)
        return _own_file(cached, name)
    raise unknown_model(name)


def _own_file(path: Path, name: str) -> ResolvedModel:
    header = read_header(path)
    return ResolvedModel(path, name, _known_hash(path), header.num_parameters)


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


def in_format(entry: CatalogueEntry, quant: str) -> ResolvedModel:
    """The model in another format, made from its file when it is absent or damaged.

    Where this machine makes other bytes than the catalogue's it is the file as it was fetched,
    with a warning: an artifact fitted for the format then does not count as fitted for it.
    """
    path, wanted = file_of(entry, quant), entry.formats[quant]
    name = f"{entry.name}:{quant}"
    if not path.exists() or _known_hash(path) != wanted:
        source = verify(entry)
        writable_models_dir()
        requantise(source.path, quant, path)
        if _known_hash(path) != wanted:
            path.unlink()
            warnings.warn(
                f"{name} comes out with other bytes on this machine; {entry.name} is used.",
                stacklevel=2,
            )
            return source
    return ResolvedModel(path, name, wanted, entry.num_parameters)


def remove(name: str) -> bool:
    """Delete a catalogue model's files and what is kept of them; False when none was there."""
    entry = find(name)
    paths = [file_of(entry, quant) for quant in (None, *entry.formats)]
    existed = any(path.exists() for path in paths)
    for path in paths:
        discard(path)
    return existed


def discard(path: Path) -> None:
    """Delete a model file and what is kept of it."""
    path.unlink(missing_ok=True)
    _note_of(path).unlink(missing_ok=True)


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
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DamagedModelError(f"{path}: cannot be read ({error.strerror}).") from error
    if path.parent == models_dir():
        with contextlib.suppress(OSError):  # a folder that is only read needs no note
            note.write_text(json.dumps([*key, found]))
    return found


def _note_of(path: Path) -> Path:
    return path.with_name(path.name + ".sha256.json")
