"""States of a model that has read a beginning of prompts, on disk for the next process."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

MAX_BYTES = 1 << 30
"""Of all states of all models; those that were not used for longest go."""

_LARGEST = 1 / 8
"""Of that, what one state may take."""

_DIGEST = hashlib.sha256


class StateStore:
    """States of one model as one engine writes them; other models' lie in the same folder.

    A file that is damaged counts as absent, and so does a folder that cannot be read or written:
    the beginning is read again.
    """

    def __init__(self, folder: Path, key: str, *, max_bytes: int = MAX_BYTES) -> None:
        """`key` names all that a state depends on but its tokens: model, engine and options."""
        self._folder = folder
        self._key = key
        self._max_bytes = max_bytes

    def read(self, tokens: Sequence[int]) -> bytearray | None:
        """The state after these tokens; None where there is none."""
        path = self._path(tokens)
        digest_size = _DIGEST().digest_size
        try:
            with path.open("rb") as file:
                digest = file.read(digest_size)
                state = bytearray(max(0, os.fstat(file.fileno()).st_size - digest_size))
                file.readinto(state)
        except OSError:
            return None
        with suppress(OSError):  # another user's
            os.utime(path)
        return state if _DIGEST(state).digest() == digest else None

    def write(self, tokens: Sequence[int], state: memoryview) -> None:
        """Unless it is too large to keep beside others."""
        if state.nbytes > _LARGEST * self._max_bytes:
            return
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            with NamedTemporaryFile(dir=self._folder, delete=False) as file:
                file.write(_DIGEST(state).digest())
                file.write(state)
            os.replace(file.name, self._path(tokens))
            self._drop_oldest()

    def _path(self, tokens: Sequence[int]) -> Path:
        named = f"{self._key} {list(tokens)}"
        return self._folder / _DIGEST(named.encode()).hexdigest()

    def _drop_oldest(self) -> None:
        """Also what an interrupted process left half written."""
        files = [(path.stat(), path) for path in self._folder.iterdir()]
        room = self._max_bytes
        for stat, path in sorted(files, key=lambda file: -file[0].st_mtime):
            room -= stat.st_size
            if room < 0:
                path.unlink(missing_ok=True)
