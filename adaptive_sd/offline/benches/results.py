"""What a bench leaves behind: a document that says which machine it was, and a plot."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from adaptive_sd import __version__
from adaptive_sd.offline.research_log import json_bytes, write_whole
from adaptive_sd.rates import cpu_name

RESULTS = Path("bench/results")


def write_results(
    folder: Path, topic: str, document: Mapping[str, object], plot: bytes, *, now: datetime
) -> None:
    """Write TOPIC-TIME.json and TOPIC-TIME.png, and say so on stderr.

    The document gets the machine and its load: seconds of a busy machine are worth less.
    """
    machine = {
        "adaptive_sd": __version__,
        "when": now.isoformat(timespec="seconds"),
        "cpu": cpu_name(),
        "num_cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg(),
    }
    stem = f"{topic}-{now:%Y%m%d-%H%M%S}"
    files = {f"{stem}.json": json_bytes({**machine, **document}), f"{stem}.png": plot}
    for name, content in files.items():
        write_whole(folder / name, content)
    print(f"written: {', '.join(str(folder / name) for name in files)}", file=sys.stderr)
