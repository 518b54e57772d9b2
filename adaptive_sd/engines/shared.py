"""One engine for several stages of one model."""

from __future__ import annotations

import threading
from collections.abc import Callable

from adaptive_sd.engines.base import Engine


class SharedEngine:
    """Loaded for the first stage that acquires it, closed when the last has released it."""

    def __init__(self, load: Callable[[], Engine]) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._num_users = 0

    def acquire(self) -> Engine:
        """The engine, which stays open until as many calls of `release`."""
        with self._lock:
            if self._engine is None:
                self._engine = self._load()
            self._num_users += 1
            return self._engine

    def release(self) -> None:
        with self._lock:
            self._num_users -= 1
            if self._engine is not None and not self._num_users:
                self._engine.close()
                self._engine = None
