"""What this machine has."""

from __future__ import annotations

import os
from pathlib import Path


def memory_bytes() -> tuple[int, int]:
    """Bytes of memory in all, and available."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return total, total
    values = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
    return values["MemTotal"], values["MemAvailable"]
