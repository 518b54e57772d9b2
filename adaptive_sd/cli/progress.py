"""Progress on stderr: bars on a terminal; elsewhere, of what is counted, a line each tenth."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

Show = Callable[[int, int], None]
"""Called with (done, total)."""

_COUNTING_WINDOW_S = 600.0  # one answer may take half a minute
_DOWNLOAD_WINDOW_S = 30.0


class RateColumn(ProgressColumn):
    """Items a minute."""

    def render(self, task: Task) -> Text:
        return Text(f"{60 * task.speed:.3g}/min" if task.speed else "", style="progress.data.speed")


def counting_bar(task: str) -> AbstractContextManager[Show]:
    """Counts items, with their rate and the time that is left."""
    if not sys.stderr.isatty():
        return nullcontext(_tenths(task))
    columns = (MofNCompleteColumn(), RateColumn(), TimeRemainingColumn())
    return _bar(task, _COUNTING_WINDOW_S, *columns)


def _tenths(task: str) -> Show:
    """Ten lines at most, for whoever reads a log."""
    told = 0

    def show(done: int, total: int) -> None:
        nonlocal told
        if total and (tenth := 10 * done // total) > told:
            told = tenth
            print(f"{task}: {done} of {total}", file=sys.stderr, flush=True)

    return show


def download_bar(task: str) -> AbstractContextManager[Show]:
    """Counts bytes, with their rate."""
    return _bar(task, _DOWNLOAD_WINDOW_S, DownloadColumn(), TransferSpeedColumn())


@contextmanager
def _bar(task: str, window_s: float, *columns: ProgressColumn) -> Iterator[Show]:
    """A bar that appears with the first count; rate and time left are those of the window."""
    with Progress(
        TextColumn(task),
        BarColumn(),
        *columns,
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        speed_estimate_period=window_s,
    ) as bar:
        line = bar.add_task("", total=None, visible=False)
        yield lambda done, total: bar.update(line, completed=done, total=total, visible=True)
