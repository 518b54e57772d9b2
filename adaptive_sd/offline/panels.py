"""Plots of panels one below the other, as PNG bytes."""

from __future__ import annotations

import io

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def stacked_axes(count: int) -> tuple[Figure, list[Axes]]:
    """A figure of `count` axes, one below the other."""
    figure = Figure(figsize=(7, 3.6 * count), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, [figure.add_subplot(count, 1, i + 1) for i in range(count)]


def png_bytes(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()
