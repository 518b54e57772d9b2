"""The page and its plots as files, each whole."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from adaptive_sd.errors import ConfigError
from adaptive_sd.offline.report.figures import Drawing
from adaptive_sd.offline.research_log import write_whole


def check_out(path: Path) -> None:
    """Before any work; raises ConfigError for a place where no page can be written."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"{path}: a report is a web page; give a name that ends in .html.")
    if path.is_dir():
        raise ConfigError(f"{path}: is a folder; give the name of a file in it.")
    if not path.parent.is_dir():
        raise ConfigError(f"{path.parent}: no such folder; make it or give another --out.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ConfigError(f"{path.parent}: cannot be written; give another --out.")


def publish(path: Path, page: str, drawings: Sequence[Drawing]) -> tuple[Path, ...]:
    """The plots as NAME.PLOT.png beside the page NAME.html, which comes last."""
    pngs = [path.with_suffix(f".{drawing.name}.png") for drawing in drawings]
    for png, drawing in zip(pngs, drawings, strict=True):
        write_whole(png, drawing.png)
    write_whole(path, page.encode("utf-8", "replace"))
    return (path, *pngs)
