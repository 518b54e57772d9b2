"""States of a model that has read a beginning of prompts, on disk for the next process."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

MAX_BYTES = 1 << 30
"""Of all states of all models; those that were not used for longest go."""

_DIGEST = hashlib.sha256
_SUFFIX = ".state"


class StateStore:
    """States of one model as one engine writes them; other models' lie in the same folder.

    A file that is damaged counts as absent, and so does a folder that cannot be read or written:
    the beginning is read again.
    """

    def __init__(self, folder: Path, key: str, *, max_bytes: int = MAX_BYTES) -> None:
        """`key` names all that a state depends on but its tokens: model, engine and version."""
        self._folder = folder
        self._key = key
        self._max_bytes = max_bytes

    def read(self, tokens: Sequence[int]) -> bytes | None:
        """The state after these tokens; None where there is none."""
        path = self._path(tokens)
        try:
            raw = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        size = _DIGEST().digest_size
        digest, state = raw[:size], raw[size:]
        if _DIGEST(state).digest() == digest:
            return state
        with suppress(OSError):
            path.unlink()
        return None

    def write(self, tokens: Sequence[int], state: bytes) -> None:
        path = self._path(tokens)
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                temporary.write_bytes(_DIGEST(state).digest() + state)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
            self._drop_oldest()

    def _path(self, tokens: Sequence[int]) -> Path:
        named = f"{self._key} {list(tokens)}"
        return self._folder / (_DIGEST(named.encode()).hexdigest() + _SUFFIX)

    def _drop_oldest(self) -> None:
        files = [(path.stat(), path) for path in self._folder.glob(f"*{_SUFFIX}")]
        room = self._max_bytes
        for stat, path in sorted(files, key=lambda file: -file[0].st_mtime):
            room -= stat.st_size
            if room < 0:
                path.unlink(missing_ok=True)
