"""Other tools that generate with the same model files, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from adaptive_sd.errors import ConfigError, EngineError

_RUNNER = Path(__file__).with_name("tool_runner.py")


@dataclass(frozen=True, slots=True)
class ToolSettings:
    """What a tool runs: the target's file, for token-level speculation the draft model's too."""

    tool: str
    model: Path
    draft_model: Path | None
    context: int
    threads: int


@dataclass(frozen=True, slots=True)
class ToolAnswer:
    """A greedy answer without its end-of-turn token; `num_spans` is None where it is not told."""

    text: str
    token_ids: tuple[int, ...]
    seconds: float
    num_drafted: int
    num_accepted: int
    num_spans: int | None


class Tool:
    """A child process that loads one tool and answers a prompt a line."""

    def __init__(self, settings: ToolSettings, python: str = sys.executable) -> None:
        """Start it with the interpreter `python`. Raises ConfigError when it cannot."""
        self._settings = settings
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the process
        arguments = {
            "tool": settings.tool,
            "model": str(settings.model),
            "draft_model": None if settings.draft_model is None else str(settings.draft_model),
            "context": settings.context,
            "threads": settings.threads,
        }
        try:
            # -I: no module of this folder can stand for one that the tool imports
            self._process = subprocess.Popen(
                [python, "-I", str(_RUNNER), json.dumps(arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                encoding="utf-8",
            )
        except OSError as error:
            self._errors.close()
            raise ConfigError(
                f"{python}: cannot be started ({error.strerror}); give the Python of an "
                f"environment that has {settings.tool}."
            ) from error
        try:
            self.version = str(self._receive()["version"])
        except EngineError as error:
            self.close()
            raise ConfigError(
                f"{python}: {error} Is {settings.tool} installed there "
                f"(`{python} -m pip install {settings.tool}`)?"
            ) from error

    def answer(self, prompt: Sequence[int], max_tokens: int) -> ToolAnswer:
        """Greedy; timed after the prompt was read. Raises EngineError when the tool fails."""
        said = self._ask({"prompt": list(prompt), "max_tokens": max_tokens})
        return ToolAnswer(
            text=said["text"],
            token_ids=tuple(said["token_ids"]),
            seconds=said["seconds"],
            num_drafted=said["num_drafted"],
            num_accepted=said["num_accepted"],
            num_spans=said["num_spans"],
        )

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise EngineError(f"{self._settings.tool} has ended: {self._last_error()}") from error
        return self._receive()

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise EngineError(f"{self._settings.tool} has ended: {self._last_error()}")
        said: dict[str, Any] = json.loads(line)
        if "error" in said:
            raise EngineError(f"{self._settings.tool}: {said['error']}")
        return said

    def _last_error(self) -> str:
        self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "without a word.")

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait()
        self._errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
