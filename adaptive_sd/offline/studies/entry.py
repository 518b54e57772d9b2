"""What a study writes: its documents and its entry in the research log."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from adaptive_sd import __version__
from adaptive_sd.offline.research_log import LogEntry, json_bytes, publish


def publish_study(
    out: Path,
    topic: str,
    document: Mapping[str, object],
    plot: bytes,
    *,
    settings: Mapping[str, str],
    results: Mapping[str, str],
    observations: Sequence[str],
    next_experiments: Sequence[str],
    now: datetime,
) -> None:
    """Write TOPIC.json, TOPIC.png and the log's entry below `out`, and print the results."""
    machine = {"Version": f"adaptive-sd {__version__}, Python {platform.python_version()}"}
    entry = LogEntry(now, {**settings, **machine}, results, observations, next_experiments)
    files = {f"{topic}.json": json_bytes(document), f"{topic}.png": plot}
    paths = publish(out, files, topic, entry)
    print(*(f"{name}: {value}" for name, value in results.items()), sep="\n")
    print(*observations, sep="\n")
    print(f"written: {', '.join(map(str, paths))}", file=sys.stderr)
