"""What an experiment leaves behind: result files and an entry in the research log, each whole."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from adaptive_sd.errors import ConfigError


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One experiment in the form of the guide's template; headings of settings and results."""

    when: datetime
    settings: Mapping[str, str]
    results: Mapping[str, str]
    observations: Sequence[str]
    next_experiments: Sequence[str]

    def as_markdown(self) -> str:
        sections = {
            "Settings": [f"{name}: {value}" for name, value in self.settings.items()],
            "Results": [f"{name}: {value}" for name, value in self.results.items()],
            "Observations": self.observations,
            "Next experiment": self.next_experiments,
        }
        blocks = [f"## Experiment log ({self.when:%Y-%m-%d})"]
        for title, lines in sections.items():
            blocks.append("\n".join([f"### {title}", *(f"- {line}" for line in lines)]))
        return "\n\n".join(blocks) + "\n"


def publish(
    folder: Path, files: Mapping[str, bytes], topic: str, entry: LogEntry
) -> tuple[Path, ...]:
    """Write `files` (content by name) and add `entry` to the day's log of this topic."""
    paths = [folder / name for name in files]
    for path, content in zip(paths, files.values(), strict=True):
        write_whole(path, content)
    return (*paths, add_entry(folder / "log", topic, entry))


def add_entry(folder: Path, topic: str, entry: LogEntry) -> Path:
    """Put `entry` below those that the day's file of this topic has already."""
    path = folder / f"{entry.when:%Y-%m-%d}-{topic}.md"
    earlier = path.read_bytes().rstrip() + b"\n\n" if path.exists() else b""
    write_whole(path, earlier + entry.as_markdown().encode())
    return path


def write_whole(path: Path, content: bytes) -> None:
    """Afterwards the file holds all of `content`, or, on any failure, what it held before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def json_bytes(document: Mapping[str, object]) -> bytes:
    """Refuses NaN, which is not JSON."""
    return (json.dumps(document, indent=1, allow_nan=False) + "\n").encode()


def check_folder(folder: Path) -> None:
    """Create the results' folder before any work; raises ConfigError when it cannot be used."""
    for path in (folder, folder / "log"):
        check_writable(path)


def check_writable(folder: Path) -> None:
    """Create one folder where it is absent; raises ConfigError when it cannot be used."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be made ({error.strerror}); give --out.") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"{folder}: cannot be written; give another folder with --out.")
