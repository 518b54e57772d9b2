"""How first drafts fared on the prompts of a fit: what a drift watch compares with."""

from __future__ import annotations

from adaptive_sd.decision.drift import First, Reference
from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.guarded import GuardedPolicy
from adaptive_sd.decision.partial import WHOLE
from adaptive_sd.decision.paths import Path, follow


def firsts_of(policy: GuardedPolicy, table: FitTable, lam: float) -> list[First]:
    """The first draft of each prompt."""
    return [
        _first(path, estimates)
        for path, estimates in zip(
            follow(policy, table, lam), table.estimates.tolist(), strict=True
        )
    ]


def _first(path: Path, estimates: list[float]) -> First:
    stage, place = path.drafts[0]
    return First(stage, estimates[stage] if place == WHOLE else None, len(path.drafts) > 1)


def reference_of(policy: GuardedPolicy, table: FitTable, lam: float) -> Reference:
    """`table` has estimates out of fold."""
    return Reference.of(firsts_of(policy, table, lam), lam)
