"""A figure as PNG."""

from __future__ import annotations

import io

from matplotlib.figure import Figure


def png_bytes(figure: Figure) -> bytes:
    """`figure` has a canvas; 150 dots an inch."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()
