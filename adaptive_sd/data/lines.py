"""Lines of the text files that users write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from adaptive_sd.errors import DataError


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Those that are not blank, with their numbers. Raises DataError for what cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # U+2028 is no end of a line
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be read ({why}).") from error
    return ((number, line) for number, line in enumerate(lines, start=1) if line.strip())
