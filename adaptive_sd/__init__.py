"""adaptive-sd: each prompt answered by the cheapest model of a ladder that is good enough."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adaptive_sd.build import Cascade
    from adaptive_sd.decision.predictor import QualityPredictor
    from adaptive_sd.decision.stopping import optimal_stopping_rule
    from adaptive_sd.request import Request
    from adaptive_sd.stage import Stage

__version__ = "0.1.0"
__all__ = [
    "Cascade",
    "QualityPredictor",
    "Request",
    "Stage",
    "__version__",
    "optimal_stopping_rule",
]

_HOME_OF = {
    "Cascade": "adaptive_sd.build",
    "QualityPredictor": "adaptive_sd.decision.predictor",
    "Request": "adaptive_sd.request",
    "Stage": "adaptive_sd.stage",
    "optimal_stopping_rule": "adaptive_sd.decision.stopping",
}


def __getattr__(name: str) -> object:  # each name loads only what it needs
    if name in _HOME_OF:
        return getattr(importlib.import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module 'adaptive_sd' has no attribute {name!r}")
