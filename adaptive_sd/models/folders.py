"""Models in Hugging Face's layout: a folder on this machine, or an id on the hub."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from adaptive_sd.errors import DamagedModelError, UnknownModelError
from adaptive_sd.models.catalogue import explain_unavailable, load_catalogue, split_format
from adaptive_sd.models.sizes import size_in

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_NUM_SAMPLES, _SAMPLE_BYTES = 16, 1 << 16


@dataclass(frozen=True, slots=True)
class FoundModel:
    """Of a hub id only the name is known: `sha256` is of that, the size what it tells."""

    sha256: str
    num_parameters: int


def is_for_folders(name: str) -> bool:
    """Whether a name can be a folder or hub id, and is no GGUF file's."""
    if ".gguf" in name or split_format(name)[0] in load_catalogue():
        return False
    return _config(name).is_file() or _HUB_ID.fullmatch(name) is not None


def find_folder(name: str) -> FoundModel:
    """Raises UnknownModelError for what is neither, DamagedModelError for half a folder."""
    if reason := explain_unavailable(name):
        raise UnknownModelError(reason)
    if _config(name).is_file():
        return _examine(Path(name).expanduser())
    if not is_for_folders(name):
        raise UnknownModelError(
            f"{name[:200]}: is no folder with a config.json and no hub id (owner/repo), which this "
            'engine needs; GGUF files and names of the catalogue are for engine = "llama_cpp".'
        )
    return FoundModel(hashlib.sha256(f"hub {name}".encode()).hexdigest(), size_in(name))


def _config(name: str) -> Path:
    return Path(name).expanduser() / "config.json"


def _examine(folder: Path) -> FoundModel:
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise DamagedModelError(f"{folder}: has a config.json but no *.safetensors; fetch it anew.")
    digest = hashlib.sha256()
    for path in (folder / "config.json", folder / "tokenizer.json", *weights):
        if path.is_file():
            _add(digest, path)
    return FoundModel(digest.hexdigest(), sum(map(_num_parameters, weights)))


def _add(digest: hashlib._Hash, path: Path) -> None:
    """Name and size, and parts of the file all over it: whole ones are too large to read each time.

    Other weights of the same shapes differ in every part.
    """
    size = path.stat().st_size
    digest.update(f"{path.name} {size}\n".encode())
    with path.open("rb") as file:
        for i in range(_NUM_SAMPLES):
            file.seek(i * max(0, size - _SAMPLE_BYTES) // (_NUM_SAMPLES - 1))
            digest.update(file.read(_SAMPLE_BYTES))


def _num_parameters(path: Path) -> int:
    """As its header tells: https://huggingface.co/docs/safetensors, section "Format"."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        tensors = (entry for name, entry in header.items() if name != "__metadata__")
        return sum(_product(entry["shape"]) for entry in tensors)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedModelError(f"{path}: is no safetensors file; fetch it anew.") from error


def _product(shape: list[int]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total
