"""Progress on a terminal's stderr; nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

Show = Callable[[int, int], None]
"""Called with (done, total)."""


def counting_bar(task: str) -> AbstractContextManager[Show]:
    """Counts items, with the time that is left."""
    return _bar(task, MofNCompleteColumn(), TimeRemainingColumn())


def download_bar(task: str) -> AbstractContextManager[Show]:
    """Counts bytes, with their rate."""
    return _bar(task, DownloadColumn(), TransferSpeedColumn())


@contextmanager
def _bar(task: str, *columns: ProgressColumn) -> Iterator[Show]:
    with Progress(
        TextColumn(task),
        BarColumn(),
        *columns,
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    ) as bar:
        line = bar.add_task("", total=None)
        yield lambda done, total: bar.update(line, completed=done, total=total)
