"""A plot as SVG for the page, for wide and for narrow screens, and as PNG."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from adaptive_sd.offline.report.palette import COLOURS, with_variables

WIDE_IN, NARROW_IN = 7.8, 3.5
_MAX_LABEL = 26

_STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # a name of someone else's may have any characters
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": COLOURS["muted"].light,
    "axes.labelcolor": COLOURS["muted"].light,
    "axes.titlecolor": COLOURS["ink"].light,
    "text.color": COLOURS["ink"].light,
    "xtick.color": COLOURS["muted"].light,
    "ytick.color": COLOURS["muted"].light,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": COLOURS["line"].light,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}


@dataclass(frozen=True, slots=True)
class Drawing:
    """`name` is also the PNG's; `alt` says what is to be seen."""

    name: str
    alt: str
    wide: str  # SVG
    narrow: str
    png: bytes


def render(name: str, alt: str, draw: Callable[[Figure, bool], None]) -> Drawing:
    """`draw` fills a figure of a width that is set and chooses its height; told if it is narrow."""
    wide, narrow = (_figure(name, draw, is_narrow) for is_narrow in (False, True))
    return Drawing(
        name, alt, _svg(wide, f"{name}-wide"), _svg(narrow, f"{name}-narrow"), _png(wide)
    )


def label(text: str, limit: int = _MAX_LABEL) -> str:
    """A name from outside as one short line of printable characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def _figure(name: str, draw: Callable[[Figure, bool], None], is_narrow: bool) -> Figure:
    with matplotlib.rc_context(_STYLE):
        figure = Figure(layout="constrained")
        figure.set_figwidth(NARROW_IN if is_narrow else WIDE_IN)
        FigureCanvasAgg(figure)
        draw(figure, is_narrow)
    return figure


def _svg(figure: Figure, salt: str) -> str:
    buffer = io.StringIO()
    _save(figure, buffer, format="svg", transparent=True, salt=salt)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<style type="text/css">.*?</style>', "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="[\w.]+_\d+"', "", svg)  # the same in every figure
    svg = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1">', svg, count=1)
    return with_variables(svg)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    _save(figure, buffer, format="png", dpi=160, metadata={"Software": None})
    return buffer.getvalue()


def _save(
    figure: Figure, target: io.StringIO | io.BytesIO, *, salt: str = "", **options: Any
) -> None:
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": salt}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        warnings.filterwarnings("ignore", message="constrained_layout not applied")
        figure.savefig(target, **options)
