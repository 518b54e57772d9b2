"""The fitted policy: skip, stop, go on or recall by estimated losses, for every lambda."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.calibration import moved, sigmoid
from adaptive_sd.decision.lams import nearest_lam, place_lam
from adaptive_sd.decision.loss import loss_of
from adaptive_sd.decision.partial import PARTIAL_STATISTICS, WHOLE, Drafted
from adaptive_sd.decision.policies import Choice, Evidence, Prospect, choose
from adaptive_sd.decision.states import (
    StateOf,
    held_of,
    last_of,
    later_stages,
    may_abandon,
    num_features,
    partial_features,
    state_index,
    state_of_held,
    state_reader,
)
from adaptive_sd.errors import ArtifactError

FloatArray = NDArray[np.float64]


_KEPT = 256
"""States at one lambda each."""

SavingKey = tuple[int, int, int]
"""Index of a state, a stage whose draft grows in it, and the place of a checkpoint."""


class StateValues(NamedTuple):
    """Estimates in one state for a number of rows and lambdas."""

    stop_quality: FloatArray  # (num_rows, num_held)
    value_stop: FloatArray  # (num_rows, num_lams); inf with nothing held
    values_go: FloatArray  # (num_rows, num_later, num_lams)
    quality_go: FloatArray  # the same shape, as the next
    cost_go: FloatArray

    def shifted(self, shift: FloatArray, lam: float) -> StateValues:
        """At one lambda, with what feedback adds to the log odds of the drafts held.

        `shift` has shape (num_rows, num_held). What going on comes to stays as fitted: so the worse
        drafts turn out to be, the more it gains.
        """
        stop = moved(self.stop_quality, shift)
        value_stop = loss_of(0.0, stop.max(axis=1), lam)[:, None]
        return self._replace(stop_quality=stop, value_stop=value_stop)


class Estimating(Protocol):
    """A policy that compares estimated losses; see InducedPolicy."""

    @property
    def stages(self) -> tuple[int, ...]: ...

    def estimate(self, held: Sequence[int], state_of: StateOf, lam: float) -> StateValues: ...


@dataclass(frozen=True, slots=True, eq=False)
class InducedPolicy:
    """Estimates in each state, a subset of stages held (bit r of its index: the r-th of `stages`).

    Stages of the ladder that are not among `stages` never run. The columns of a state's weights
    are: log odds of each held draft being right; then for each later stage, linear, the quality in
    the end (with drafts held what it gains over the best one's) and the cost from here, at each
    lambda of the grid, of running that stage and following the policy; or, at lambdas where the
    myopic rule lost less, of that stage's draft alone. Between grid points they are interpolated in
    log lambda. The cost is taken as no less than the least of a recorded draft: lines that fit long
    prompts may say less, or nothing, of very short ones.

    `savings` are linear too, in the state and the partial statistics: the expected loss that
    abandoning a draft at a checkpoint saves, at each lambda of the grid; 0 where that was not
    shown to pay. A lambda between grid points goes with the nearer one.
    """

    stages: tuple[int, ...]  # ascending
    lam_grid: FloatArray  # (num_lams,), ascending; the first is 0
    weights: tuple[FloatArray, ...]  # 2**len(stages) of (num_state_features, num_outputs)
    least_costs: FloatArray  # (len(stages),)
    savings: Mapping[SavingKey, FloatArray] = field(default_factory=dict)
    _between: dict[tuple[int, float], FloatArray] = field(
        default_factory=dict, init=False, repr=False
    )

    def decide(self, evidence: Evidence, lam: float) -> Choice:
        """Raises ConfigError for a lambda outside the grid."""
        return decide_by(self, evidence, lam)

    def estimate(self, held: Sequence[int], state_of: StateOf, lam: float) -> StateValues:
        """As `values`, of rows whose features in each state are known."""
        return self.values(held, state_of(held), lam)

    def draft_costs(self, evidence: Evidence) -> dict[int, float]:
        """Expected of a draft of each stage that may run next: at lambda 0 none follows it."""
        held = evidence.held
        stages = tuple(draft.stage for draft in held)
        costs = self.values(stages, state_of_held(held, evidence), 0.0).cost_go[0, :, 0].tolist()
        found = zip(later_stages(stages, self.stages), costs, strict=True)
        return {stage: cost for stage, cost in found if stage > evidence.abandoned}

    def values(self, stages: Sequence[int], state: FloatArray, lam: float) -> StateValues:
        """Estimates at one lambda for rows in the same state."""
        found = state @ self._weights_at(state_index(stages, self.stages), lam)
        stop = sigmoid(found[:, : len(stages)])
        go = found[:, len(stages) :].reshape(len(state), -1, 2, 1)
        return state_values(stop, go, np.array([lam]), last_of(self.least_costs, go.shape[1]))

    def _weights_at(self, index: int, lam: float) -> FloatArray:
        """Of a state at one lambda: estimates are linear in the weights, so only these count.

        Shape (num_state_features, num_held + 2 * num_later). The last ones are kept, since
        most decisions are at one lambda.
        """
        known = self._between.get((index, lam))
        if known is not None:
            return known
        low, high, share = place_lam(self.lam_grid, lam)
        weights, num_held = self.weights[index], index.bit_count()
        grid = weights[:, num_held:].reshape(len(weights), -1, len(self.lam_grid))
        go = grid[..., low] * (1 - share) + grid[..., high] * share
        if len(self._between) >= _KEPT:
            self._between.clear()
        self._between[index, lam] = found = np.concatenate([weights[:, :num_held], go], axis=1)
        return found

    def saved(
        self, evidence: Evidence, drafted: Drafted, statistics: NDArray[np.floating], lam: float
    ) -> float:
        """Expected loss that abandoning a draft saves that has come so far.

        `statistics` (1, num_partial_statistics) are of its tokens. Raises ConfigError for a lambda
        outside the grid.
        """
        weights = self.saving_weights([held.stage for held in evidence.held], drafted, lam)
        if weights is None:
            return 0.0
        state = state_of_held(evidence.held, evidence)
        return float((partial_features(state, statistics) @ weights)[0])

    def saving_weights(
        self, held: Sequence[int], drafted: Drafted, lam: float
    ) -> FloatArray | None:
        """Of `partial_features`; None where abandoning was not shown to pay."""
        weights = self.savings.get((state_index(held, self.stages), *drafted))
        if weights is None:
            return None
        chosen = weights[:, nearest_lam(self.lam_grid, lam)]
        return chosen if chosen.any() else None

    @property
    def running(self) -> tuple[int, ...]:
        """Those that run at some lambda."""
        return self.stages

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        arrays: dict[str, NDArray[np.generic]] = {
            "stages": np.array(self.stages),
            "lam_grid": self.lam_grid,
            "least_costs": self.least_costs,
        }
        arrays |= {f"state{i}": weights for i, weights in enumerate(self.weights)}
        return arrays | {_saving_name(key): weights for key, weights in self.savings.items()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.generic]]) -> Self:
        """Raises ArtifactError when shapes do not fit; KeyError when an array is missing."""
        grid = arrays["lam_grid"].astype(np.float64)
        num_states = sum(name.startswith("state") for name in arrays)
        stages = tuple(int(s) for s in arrays["stages"].astype(np.int64))
        if not stages or min(np.diff(stages), default=1) < 1 or stages[0] < 0:
            raise ArtifactError(f"the stages of a policy do not ascend: {stages}.")
        if 2 ** len(stages) != num_states:
            raise ArtifactError(f"a policy of {len(stages)} stages has {num_states} states.")
        if grid.ndim != 1 or not len(grid) or grid[0] != 0 or not (np.diff(grid) > 0).all():
            raise ArtifactError("the lambda grid of a policy does not ascend from 0.")
        least_costs = arrays["least_costs"].astype(np.float64)
        if least_costs.shape != (len(stages),) or not (least_costs >= 0).all():
            raise ArtifactError(f"the least costs of {len(stages)} stages are {least_costs}.")
        weights = tuple(arrays[f"state{i}"].astype(np.float64) for i in range(num_states))
        num_prompt_features = len(weights[0]) - 1
        for index, matrix in enumerate(weights):
            held = held_of(index, stages)
            num_outputs = len(held) + 2 * len(grid) * len(later_stages(held, stages))
            wanted = (num_features(num_prompt_features, len(held)), num_outputs)
            if matrix.shape != wanted:
                raise ArtifactError(
                    f"state {index} of a policy has shape {matrix.shape}, not {wanted}."
                )
        savings: dict[SavingKey, FloatArray] = {}
        for index, matrix in enumerate(weights):
            held = held_of(index, stages)
            wanted = (len(matrix) + len(PARTIAL_STATISTICS), len(grid))
            for stage, place in itertools.product(may_abandon(held, stages), range(WHOLE)):
                name = _saving_name(key := (index, stage, place))
                if name not in arrays:
                    continue
                savings[key] = arrays[name].astype(np.float64)
                if savings[key].shape != wanted:
                    raise ArtifactError(
                        f"{name} of a policy has shape {savings[key].shape}, not {wanted}."
                    )
        if num_unknown := sum(n.startswith("saving") for n in arrays) - len(savings):
            raise ArtifactError(f"a policy abandons {num_unknown} drafts that it has no choice of.")
        return cls(stages, grid, weights, least_costs, savings)


def _saving_name(key: SavingKey) -> str:
    return "saving{}_{}_{}".format(*key)


def estimated(policy: Estimating, evidence: Evidence, lam: float) -> StateValues:
    """Of one row, the evidence, with what feedback adds."""
    stages = tuple(draft.stage for draft in evidence.held)
    values = policy.estimate(stages, state_reader(evidence), lam)
    shift = [draft.shift for draft in evidence.held]
    return values.shifted(np.array([shift]), lam) if any(shift) else values


def decide_by(policy: Estimating, evidence: Evidence, lam: float) -> Choice:
    """By the least of the estimated losses, of which infinite ones are of stages that never run.

    Raises as `policy.estimate` does.
    """
    stages = tuple(draft.stage for draft in evidence.held)
    values = estimated(policy, evidence, lam)
    sides = (values.quality_go, values.cost_go, values.values_go)
    of_stages = zip(
        later_stages(stages, policy.stages),
        *(side[0, :, 0].tolist() for side in sides),
        strict=True,
    )
    going = [
        Prospect(stage, quality, cost, loss)
        for stage, quality, cost, loss in of_stages
        if stage > evidence.abandoned and loss < np.inf
    ]
    if not stages:
        return choose(evidence, (), None, tuple(going))
    qualities = tuple(values.stop_quality[0].tolist())
    returned = int(returned_of(stages, values.stop_quality)[0])
    stopping = Prospect.of(None, max(qualities), 0.0, lam)
    return choose(evidence, qualities, returned, (stopping, *going))


def returned_of(held: Sequence[int], stop_quality: FloatArray) -> NDArray[np.int64]:
    """The stage whose draft is returned in each row: the best estimate, ties to the later."""
    last_best = stop_quality.shape[1] - 1 - np.argmax(stop_quality[:, ::-1], axis=1)
    returned: NDArray[np.int64] = np.asarray(held)[last_best]
    return returned


def state_values(
    stop: FloatArray, go: NDArray[np.floating], lam: FloatArray, least_costs: FloatArray
) -> StateValues:
    """Expected losses: of stopping lam * (1 - q), of going on cost + lam * (1 - q).

    `go` has shape (num_rows, num_later, 2, num_lams): quality, with drafts held its gain over the
    best one's, and cost, which is at least that of `least_costs` (num_later,).
    """
    best = stop.max(axis=1, initial=0.0)[:, None]
    # np.clip takes several times as long as these on the few numbers of one decision
    quality = np.minimum(np.maximum(best[..., None] + go[:, :, 0], 0), 1)
    cost = np.maximum(go[:, :, 1], least_costs[:, None])
    value_stop = (
        loss_of(0.0, best, lam) if stop.shape[1] else np.full((len(stop), len(lam)), np.inf)
    )
    return StateValues(stop, value_stop, loss_of(cost, quality, lam), quality, cost)
