"""Models in Hugging Face's layout: a folder on this machine, or an id on the hub."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
from pathlib import Path

from adaptive_sd.errors import DamagedModelError, UnknownModelError
from adaptive_sd.models.catalogue import explain_unavailable, load_catalogue, split_format
from adaptive_sd.models.download import pull_hub_folder
from adaptive_sd.models.home import models_dir
from adaptive_sd.models.sizes import size_in
from adaptive_sd.models.sources import FetchHubFolder, hub_folder
from adaptive_sd.models.store import ResolvedModel, resolve

_HUB_ID = re.compile(r"[\w-][\w.-]{0,95}/[\w-][\w.-]{0,95}", re.ASCII)
_PARTS = ("*.safetensors", "*.json", "*.jinja", "*.model")
"""Files that answers depend on; none of them is a program."""

_COPY = "consolidated"
"""With what the name of a file begins that holds the same weights in the maker's own layout."""


def is_for_folders(name: str) -> bool:
    """Whether a name can be a folder or hub id, and is no GGUF file's."""
    if ".gguf" in name or split_format(name)[0] in load_catalogue():
        return False
    config = os.path.join(os.path.expanduser(name), "config.json")
    return os.path.isfile(config) or _HUB_ID.fullmatch(name) is not None


def resolve_checkpoint(
    name: str, *, offline: bool = False, fetch_hub_folder: FetchHubFolder = hub_folder
) -> ResolvedModel:
    """The folder of a path or hub id (fetched if absent), else what `resolve` finds: a GGUF file.

    Raises UnknownModelError, DamagedModelError, DownloadError.
    """
    if reason := explain_unavailable(name):
        raise UnknownModelError(reason)
    folder = Path(os.path.expanduser(name))
    if os.path.isdir(folder):
        return examine_folder(folder, folder.resolve().name)
    if not is_for_folders(name):
        return resolve(name, offline=offline)
    cached = models_dir() / name.replace("/", "--")
    if not (cached / "config.json").is_file():
        pull_hub_folder(name, cached, _PARTS, offline=offline, fetch_hub_folder=fetch_hub_folder)
    return examine_folder(cached, name)


def examine_folder(folder: Path, name: str) -> ResolvedModel:
    """Its size, and its hash, which is kept as long as no file changes.

    Raises DamagedModelError for a folder that is not whole.
    """
    weights = _parts(folder, "*.safetensors")
    if not (folder / "config.json").is_file() or not weights:
        raise DamagedModelError(
            f"{folder}: has not both a config.json and *.safetensors (no other weights are "
            "loaded); fetch it again."
        )
    num_parameters = sum(map(_num_parameters, _named_by_index(folder) or weights))
    if _is_quantised(folder / "config.json"):  # several numbers may be in one
        num_parameters = size_in(name) or num_parameters
    return ResolvedModel(folder, name, _hash_of(folder), num_parameters)


def _parts(folder: Path, pattern: str) -> list[Path]:
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith(_COPY))


def _is_quantised(config: Path) -> bool:
    try:
        return "quantization_config" in json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError) as error:
        raise DamagedModelError(f"{config}: is no configuration; fetch it again.") from error


def _named_by_index(folder: Path) -> list[Path]:
    """The files that the index of the weights names, all of which are here; none without one."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return []
    try:
        named = set(json.loads(index.read_text())["weight_map"].values())
        missing = sorted(file for file in named if not (folder / file).is_file())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedModelError(f"{index}: is no index of weights; fetch it again.") from error
    if missing:
        raise DamagedModelError(
            f"{folder}: {len(missing)} of {len(named)} files of weights are missing "
            f"({missing[0]}); fetch it again."
        )
    return [folder / file for file in sorted(named)]


def _hash_of(folder: Path) -> str:
    """sha256 of the names and sha256 of all its parts."""
    parts = sorted(path for pattern in _PARTS for path in _parts(folder, pattern))
    state = [[p.name, (s := p.stat()).st_size, s.st_mtime_ns, s.st_ctime_ns] for p in parts]
    place = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    note = models_dir() / f"{folder.resolve().name}.{place}.sha256.json"
    with contextlib.suppress(OSError, ValueError, TypeError):  # else there is none: hash the files
        known, digest = json.loads(note.read_text())
        if known == state and isinstance(digest, str):
            return digest
    whole = hashlib.sha256()
    for path in parts:
        with path.open("rb") as file:
            whole.update(
                f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode()
            )
    with contextlib.suppress(OSError):  # a home that is only read needs no note
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps([state, whole.hexdigest()]))
    return whole.hexdigest()


def _num_parameters(path: Path) -> int:
    """As its header tells: https://huggingface.co/docs/safetensors, section "Format"."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, size)))
        tensors = [entry for key, entry in header.items() if key != "__metadata__"]
        end = max((entry["data_offsets"][1] for entry in tensors), default=0)
        if 8 + length + end != size:
            raise ValueError("it is cut off")
        return sum(math.prod(entry["shape"]) for entry in tensors)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DamagedModelError(f"{path}: is no whole safetensors file; fetch it again.") from error
