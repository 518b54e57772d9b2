"""Sizes of models in parameters, as their names tell them."""

from __future__ import annotations

import re

SIZE = re.compile(r"(?P<number>\d+(\.\d+)?)(?P<unit>[bm])", re.IGNORECASE)
"""As "0.5b" or "135m"."""

_IN_NAME = re.compile(rf"(?<![a-z0-9.]){SIZE.pattern}(?![a-z0-9])", re.IGNORECASE)


def size_of(text: str) -> int:
    """Parameters of "0.5b" or "135m"; 0 for what is no size."""
    found = SIZE.fullmatch(text)
    if found is None:
        return 0
    return round(float(found["number"]) * (1e9 if found["unit"].lower() == "b" else 1e6))


def size_in(name: str) -> int:
    """The largest that a model's name tells: all of them, where fewer are active; 0 for none."""
    return max((size_of(found[0]) for found in _IN_NAME.finditer(name)), default=0)
