"""What following a policy brings about on recorded prompts, at each lambda of a grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.induced import returned_of, state_values
from adaptive_sd.decision.loss import loss_of
from adaptive_sd.decision.partial import WHOLE, Drafted

FloatArray = NDArray[np.float64]
STOP = -1


class Outcome(NamedTuple):
    """From one state on; `cost` is what is paid from there."""

    quality: NDArray[np.float32]  # (num_prompts, num_lams)
    cost: NDArray[np.float32]
    stage: NDArray[np.int8]  # the one returned
    ran: NDArray[np.uint8]  # bit k: stage k ran from here on

    def losses(self, lam: FloatArray) -> FloatArray:
        losses: FloatArray = loss_of(self.cost, self.quality, lam)
        return losses

    def put(self, chosen: NDArray[np.bool_], other: Outcome) -> None:
        """Where `chosen`, the other's from now on."""
        self.quality[chosen] = other.quality[chosen]
        self.cost[chosen] = other.cost[chosen]
        self.stage[chosen] = other.stage[chosen]
        self.ran[chosen] = other.ran[chosen]


class Tried(NamedTuple):
    """Running one stage in a state, and then following the policy.

    `after` is without the cost of the stage itself, whose draft goes up to `place` (WHOLE: to its
    end); None where no draft is abandoned.
    """

    stage: int
    after: Outcome
    place: NDArray[np.int8] | None = None  # (num_prompts, num_lams)

    def outcome(self, table: FitTable, offered: Drafted | None) -> Outcome:
        """All of it, where the stage may verify the draft that is offered."""
        drafts = range(WHOLE if self.place is None else 0, WHOLE + 1)
        costs = [table.cost_to(Drafted(self.stage, place), offered) for place in drafts]
        paid = np.stack(costs, axis=1).astype(np.float32)
        if self.place is not None:
            paid = np.take_along_axis(paid, self.place, axis=1)
        ran = self.after.ran | np.uint8(1 << self.stage)
        return self.after._replace(cost=self.after.cost + paid, ran=ran)


def stopped(table: FitTable, stage: int) -> Outcome:
    """Where the draft of this stage is returned, the target of the myopic rule, at one lambda for
    all. To take the best draft held instead, where that is another, lost more out of fold.
    """
    quality = table.quality[:, [stage]].astype(np.float32)
    zeros = np.zeros_like(quality)
    return Outcome(quality, zeros, np.full_like(quality, stage, np.int8), zeros.astype(np.uint8))


def choose_next(
    stop: FloatArray, go: NDArray[np.floating], lams: FloatArray, least_costs: FloatArray
) -> NDArray[np.int8]:
    """The place of the next stage in `go` by these estimates, or STOP: (num_prompts, num_lams).

    `stop` (num_prompts, num_held), `least_costs` (num_later,); see state_values.
    """
    if not go.shape[1]:
        return np.full((len(stop), len(lams)), STOP, dtype=np.int8)
    values = state_values(stop, go, lams, least_costs)
    goes = values.values_go.min(axis=1) < values.value_stop
    return np.where(goes, values.values_go.argmin(axis=1), STOP).astype(np.int8)


def follow(
    table: FitTable,
    held: Sequence[int],
    stop: FloatArray,
    choices: NDArray[np.int8],
    next_outcomes: Sequence[Outcome],
) -> Outcome:
    """What happens where the choices are these."""
    quality = np.zeros(choices.shape, dtype=np.float32)
    stage = np.full(choices.shape, STOP, dtype=np.int8)
    if held:
        returned = returned_of(held, stop)
        quality[:] = table.quality[np.arange(len(stop)), returned][:, None]
        stage[:] = returned[:, None]
    zeros = np.zeros(choices.shape, np.float32)
    outcome = Outcome(quality, zeros, stage, np.zeros(choices.shape, np.uint8))
    for place, after in enumerate(next_outcomes):
        outcome.put(choices == place, after)
    return outcome
