"""Where models, traces and rates are kept: outside any work tree."""

from __future__ import annotations

import os
from pathlib import Path

from adaptive_sd.errors import ModelError

_configured: Path | None = None


def use_home(folder: Path) -> None:
    """Take the home folder that a configuration names, for all of this process."""
    global _configured
    _configured = folder


def home_dir() -> Path:
    """What a configuration names, $ADAPTIVE_SD_HOME, or ~/.cache/adaptive-sd; not created."""
    if _configured is not None:
        return _configured
    named = os.environ.get("ADAPTIVE_SD_HOME")
    return Path(os.path.expanduser(named or "~/.cache/adaptive-sd"))


def models_dir() -> Path:
    """Where model files lie; not created."""
    return home_dir() / "models"


def writable_models_dir() -> Path:
    """The models' folder, created if absent; raises ModelError when it cannot be written."""
    folder = models_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, str(error.strerror)) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise _unwritable(folder, "it is read-only")
    return folder


def is_offline(asked: bool) -> bool:
    """Whether the network is switched off, by the caller or by ADAPTIVE_SD_OFFLINE=1."""
    return asked or os.environ.get("ADAPTIVE_SD_OFFLINE", "0") not in ("", "0")


def _unwritable(folder: Path, reason: str) -> ModelError:
    return ModelError(
        f"{folder} cannot be written ({reason}); set ADAPTIVE_SD_HOME to a folder that can."
    )
