"""Models known by name: what they are and where their bytes come from."""

from __future__ import annotations

import difflib
import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from adaptive_sd.errors import UnknownModelError

_PATH = Path(__file__).with_name("catalogue.toml")
_UNAVAILABLE = {
    ("llama-3.2-8b",): (
        "there is no 8B of Llama 3.2: Llama 3.2 has 1B and 3B (text), Llama 3.1 has 8B, 70B and "
        "405B"
    ),
    ("llama-3-13b", "meta-llama-3-13b"): (
        "there is no 13B of Llama 3: Llama 3 has 8B and 70B, both need access on the model hub"
    ),
    ("llama-3-8b", "meta-llama-3-8b"): (
        "it needs access on the model hub (meta-llama/Meta-Llama-3-8B) and about 16 GB of GPU "
        "memory in bf16 or 6 GB in 4 bit"
    ),
}


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """A model that can be asked for by name.

    `formats`: sha256 of its other quantisations, which are made here, by their names.
    """

    name: str
    sha256: str
    bytes: int
    num_parameters: int
    quant: str
    licence: str
    chat_template: bool
    packages: tuple[str, ...]
    member: str
    hub_repo: str | None = None
    hub_file: str | None = None
    formats: Mapping[str, str] = field(default_factory=dict)


@functools.cache
def load_catalogue() -> dict[str, CatalogueEntry]:
    """Entries by name, in the order of the file."""
    tables = tomllib.loads(_PATH.read_text(encoding="utf-8"))
    return {
        name: CatalogueEntry(name=name, **table | {"packages": tuple(table["packages"])})
        for name, table in tables.items()
    }


def find(name: str) -> CatalogueEntry:
    """Raises UnknownModelError with the near names and all names."""
    entry = load_catalogue().get(name)
    if entry is None:
        raise unknown_model(name)
    return entry


def split_format(name: str) -> tuple[str, str]:
    """The model and the format of "NAME:QUANT"; the format of a bare name is empty."""
    base, _, quant = name.partition(":")
    return base, quant


def explain_unavailable(name: str) -> str | None:
    """One line for a name that guides use but that cannot be had as it stands; else None."""
    bare = name.rpartition("/")[2].lower().removesuffix("-instruct")
    for names, reason in _UNAVAILABLE.items():
        if bare in names:
            return f"{name}: {reason}. Models here: {', '.join(load_catalogue())}."
    return None


def unknown_model(name: str) -> UnknownModelError:
    """Says why `name` is no model, and which names are near."""
    if reason := explain_unavailable(name):
        return UnknownModelError(reason)
    near = difflib.get_close_matches(name.lower(), load_catalogue(), n=3, cutoff=0.4)
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    return UnknownModelError(
        f"no model {name[:200]!r}. {hint}Models here: {', '.join(load_catalogue())}; a path to a "
        "GGUF file and a hub id (owner/repo:file.gguf) work too."
    )
