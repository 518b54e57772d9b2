"""How first drafts fared on the prompts of a fit: what a drift watch compares with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.drift import First, Reference
from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.guarded import GuardedPolicy
from adaptive_sd.decision.partial import WHOLE
from adaptive_sd.decision.paths import Path, follow


def firsts_of(policy: GuardedPolicy, table: FitTable, lam: float) -> list[First]:
    """The first draft of each prompt."""
    told = np.stack([table.told(k) for k in range(table.num_stages)], axis=1).tolist()
    paths = follow(policy, table, lam)
    return [_first(path, estimates) for path, estimates in zip(paths, told, strict=True)]


def _first(path: Path, estimates: list[float]) -> First:
    stage, place = path.drafts[0]
    return First(stage, estimates[stage] if place == WHOLE else None, len(path.drafts) > 1)


def reference_of(
    policy: GuardedPolicy, table: FitTable, lam: float, covered: NDArray[np.bool_]
) -> Reference | None:
    """`table` has estimates out of fold; `covered` (num_prompts,) are of forms that the fit knows.

    Each text counts once, as the watch counts it; None where no prompt does.
    """
    rows = np.flatnonzero(covered)
    if table.group is not None:
        rows = rows[np.unique(table.group[rows], return_index=True)[1]]
    firsts = firsts_of(policy, table, lam)
    return Reference.of([firsts[row] for row in rows], lam) if len(rows) else None
