"""What a page was made from and with: settings, hashes, versions."""

from __future__ import annotations

import hashlib
import platform
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from adaptive_sd import __version__
from adaptive_sd.artifact import Artifact

_PACKAGES = ("numpy", "scipy", "scikit-learn", "pyarrow")


@dataclass(frozen=True, slots=True)
class Settings:
    """What was asked for; `lam` is None where the recommended one was."""

    table: Path
    artifact: Path | None
    out: Path
    lam: float | None
    num_resamples: int
    seed: int

    def command(self) -> str:
        options = {
            "--artifact": self.artifact,
            "--out": self.out,
            "--lambda": self.lam,
            "--bootstrap": self.num_resamples,
            "--seed": self.seed,
        }
        given = [word for name, v in options.items() if v is not None for word in (name, str(v))]
        return shlex.join(["adaptive-sd", "report", str(self.table), *given])


def hashes(settings: Settings, artifact: Artifact | None) -> Mapping[str, str]:
    """SHA-256 by what it is of."""
    found = {"table": _sha256(settings.table)}
    if artifact is not None and settings.artifact is not None:
        for name in ("manifest.json", "weights.npz"):
            found[f"artifact, {name}"] = _sha256(settings.artifact / name)
        found["artifact's data"] = artifact.data_hash
    return found


def versions() -> Mapping[str, str]:
    return {
        "adaptive-sd": __version__,
        "Python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
        "machine": platform.platform(),
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
