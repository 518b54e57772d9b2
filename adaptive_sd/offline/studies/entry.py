"""What studies share: their options, and the documents and log entry that they write."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from adaptive_sd import __version__
from adaptive_sd.offline.research_log import LogEntry, json_bytes, publish


def study_options(description: str | None, artifact: Path) -> argparse.ArgumentParser:
    """Those of every study of an artifact, by default this one; a study adds its own."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", type=Path, required=True, help="outcome table of the ladder")
    parser.add_argument("--artifact", type=Path, default=artifact, help="a folder")
    parser.add_argument("--seed", type=int, default=0, help="of the intervals")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder of the results")
    return parser


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
