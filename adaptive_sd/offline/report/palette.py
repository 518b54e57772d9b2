"""Colours of the page and its plots, for light and for dark screens."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np


class Colour(NamedTuple):
    light: str
    dark: str


SURFACES = {
    "page": Colour("#f5f6f8", "#0e131a"),
    "card": Colour("#ffffff", "#161d26"),
    "line": Colour("#dde2e8", "#2c3643"),
}
TEXTS = {
    "ink": Colour("#1a2330", "#e7ebf1"),
    "muted": Colour("#556070", "#a4b0bf"),
    "accent": Colour("#1d4ed8", "#84a9ff"),
    "good": Colour("#0f7a43", "#4ccb8a"),
    "bad": Colour("#b42318", "#ff8a7e"),
}
POLICY_COLOURS = {
    "single_stages": Colour("#334155", "#cbd5e1"),
    "random": Colour("#7c6f5a", "#bcae96"),
    "threshold_chain": Colour("#047857", "#34d399"),
    "best_pair": Colour("#c2570c", "#fb923c"),
    "frugal": Colour("#0e7490", "#22d3ee"),
    "agreement": Colour("#be185d", "#f472b6"),
    "router": Colour("#7e22ce", "#c084fc"),
    "cascade_routing": Colour("#a3123a", "#fb7185"),
    "known_p": Colour("#4d7c0f", "#a3e635"),
    "adaptive": Colour("#1e50d9", "#85aaff"),
    "oracle": Colour("#64748b", "#94a3b8"),
}
_STAGES = (
    Colour("#0a7b78", "#35b8b0"),
    Colour("#1a6fa8", "#58b2e4"),
    Colour("#2c62c8", "#7aa8f7"),
    Colour("#4c4fc4", "#979af8"),
    Colour("#6b40b4", "#b495f1"),
    Colour("#7c3192", "#cd8fde"),
    Colour("#6d2766", "#db94ca"),
)
STAGES = {f"stage-{k}": colour for k, colour in enumerate(_STAGES)}

COLOURS = {**SURFACES, **TEXTS, **POLICY_COLOURS, **STAGES}
"""By the name of the page's CSS variable."""

_VARIABLE = {colour.light: f"var(--{name})" for name, colour in COLOURS.items()}


def stage_colours(num_stages: int) -> list[Colour]:
    """From teal to plum, the larger the stage."""
    places = np.linspace(0, len(_STAGES) - 1, num_stages).round().astype(int)
    return [_STAGES[place] for place in places.tolist()]


def with_variables(svg: str) -> str:
    """The light colours of a drawing as the page's variables, so that it follows the screen."""
    return re.sub(r"(?<=: )#[0-9a-f]{6}\b", lambda found: _VARIABLE.get(found[0], found[0]), svg)
