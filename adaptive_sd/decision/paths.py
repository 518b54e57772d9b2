"""The path of each prompt of a table under a policy: what is drafted, what returned."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.guarded import GuardedPolicy
from adaptive_sd.decision.partial import WHOLE, Drafted
from adaptive_sd.decision.rollout import roll_out


class Path(NamedTuple):
    """What was drafted, and the stage whose draft is returned."""

    drafts: tuple[Drafted, ...]
    returned: int

    @property
    def stages(self) -> tuple[int, ...]:
        """Those that ran."""
        return tuple(draft.stage for draft in self.drafts)


def follow(policy: GuardedPolicy, table: FitTable, lam: float) -> list[Path]:
    """The path of each prompt."""
    # What a stage costs changes no decision, and sums of powers of two tell what was paid for.
    drafts = [Drafted(k, place) for k in range(table.num_stages) for place in range(WHOLE + 1)]
    marks = np.exp2(np.arange(len(drafts), dtype=np.float64)).reshape(table.num_stages, -1)
    whole = np.broadcast_to(marks[:, WHOLE], table.cost.shape)
    rolled = roll_out(policy, table.costing(whole, marks[:, :WHOLE]), lam)

    @functools.cache
    def drafted(mark: int) -> tuple[Drafted, ...]:
        return tuple(draft for bit, draft in enumerate(drafts) if mark >> bit & 1)

    return [
        Path(drafted(mark), stage)
        for mark, stage in zip(rolled.cost.astype(int).tolist(), rolled.stage.tolist(), strict=True)
    ]
