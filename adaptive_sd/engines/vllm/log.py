"""Where vLLM and its processes log, so that they can be asked why one of them failed."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_WAYS = ("VLLM_LOGGING_CONFIG_PATH", "VLLM_CONFIGURE_LOGGING", "VLLM_LOGGING_STREAM")


class EngineLog:
    """A file of one engine's warnings and errors, unless the environment says where they go.

    By default vLLM logs to the standard output, where an answer's JSON goes, and only there says
    why a process of it failed.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="adaptive-sd-vllm-")
        self._path = Path(self._folder.name, "log.txt")
        self._config = Path(self._folder.name, "logging.json")
        handler = {"class": "logging.FileHandler", "filename": str(self._path), "level": "WARNING"}
        logger = {"handlers": ["file"], "level": "WARNING", "propagate": False}
        self._config.write_text(
            json.dumps(
                {
                    "version": 1,
                    "disable_existing_loggers": False,
                    "handlers": {"file": handler},
                    "loggers": {"vllm": logger},
                }
            )
        )

    @contextmanager
    def used(self) -> Iterator[None]:
        """By what vLLM starts within the block, which must be where it is first imported."""
        if any(name in os.environ for name in _WAYS):
            yield
            return
        os.environ["VLLM_LOGGING_CONFIG_PATH"] = str(self._config)
        try:
            yield
        finally:
            del os.environ["VLLM_LOGGING_CONFIG_PATH"]

    def read(self) -> str:
        return self._path.read_text(errors="replace") if self._path.exists() else ""

    def close(self) -> None:
        self._folder.cleanup()
