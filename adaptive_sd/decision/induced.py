"""The fitted policy: skip, stop, go on or recall by estimated losses, for every lambda."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.calibration import logit, sigmoid
from adaptive_sd.decision.features import FEATURE_NAMES, agree
from adaptive_sd.decision.partial import PARTIAL_STATISTICS, WHOLE, Drafted
from adaptive_sd.decision.policies import Choice, Evidence, check_lam, choose
from adaptive_sd.errors import ArtifactError, ConfigError

FloatArray = NDArray[np.float64]

STATE_STATISTICS = (
    "logprob_mean",
    "logprob_q10",
    "entropy_mean",
    "margin_mean",
    "log_tokens_out",
    "log_tokens_in",
    "finished_by_length",
    "repeated_4grams",
    "no_answer",
)
"""Features of the last draft that tell what going on is worth, beyond its quality."""

STATE_COLUMNS = np.array([FEATURE_NAMES.index(name) for name in STATE_STATISTICS])


SavingKey = tuple[int, int, int]
"""Index of a state, a stage whose draft grows in it, and the place of a checkpoint."""


class StateValues(NamedTuple):
    """Estimates in one state for a number of rows and lambdas."""

    stop_quality: FloatArray  # (num_rows, num_held)
    value_stop: FloatArray  # (num_rows, num_lams); inf with nothing held
    values_go: FloatArray  # (num_rows, num_later, num_lams)


@dataclass(frozen=True, slots=True, eq=False)
class InducedPolicy:
    """Estimates in each state, a subset of stages held (bit r of its index: the r-th of `stages`).

    Stages of the ladder that are not among `stages` never run. The columns of a state's weights
    are: log odds of each held draft being right; then for each later stage, linear, the quality in
    the end and the cost from here, at each lambda of the grid, of running that stage and following
    the policy. Between grid points they are interpolated in log lambda.

    `savings` are linear too, in the state and the partial statistics: the expected loss that
    abandoning a draft at a checkpoint saves, at each lambda of the grid; 0 where that was not
    shown to pay. A lambda between grid points goes with the nearer one.
    """

    stages: tuple[int, ...]  # ascending
    lam_grid: FloatArray  # (num_lams,), ascending; the first is 0
    weights: tuple[FloatArray, ...]  # 2**len(stages) of (num_state_features, num_outputs)
    savings: Mapping[SavingKey, FloatArray] = field(default_factory=dict)

    def decide(self, evidence: Evidence, lam: float) -> Choice:
        """Raises ConfigError for a lambda outside the grid."""
        stages, state = _state_of(evidence)
        values = self.values(stages, state, lam)
        later = later_stages(stages, self.stages)
        values_go = tuple(
            (stage, value)
            for stage, value in zip(later, values.values_go[0, :, 0].tolist(), strict=True)
            if stage > evidence.abandoned
        )
        if not stages:
            return choose((), None, float("inf"), values_go)
        qualities = tuple(values.stop_quality[0].tolist())
        returned = stages[int(returned_index(values.stop_quality)[0])]
        return choose(qualities, returned, float(values.value_stop[0, 0]), values_go)

    def values(self, stages: Sequence[int], state: FloatArray, lam: float) -> StateValues:
        """Estimates at one lambda for rows in the same state."""
        low, high, share = place_lam(self.lam_grid, lam)
        weights = self.weights[state_index(stages, self.stages)]
        held, go = weights[:, : len(stages)], weights[:, len(stages) :]
        grid = go.reshape(len(weights), -1, len(self.lam_grid))
        # estimates are linear in the weights, so that only those of this lambda are needed
        between = grid[..., low] * (1 - share) + grid[..., high] * share
        stop = sigmoid(state @ held)
        return state_values(stop, (state @ between).reshape(len(state), -1, 2, 1), np.array([lam]))

    def estimates(self, evidence: Evidence) -> tuple[float, ...]:
        """Qualities of the drafts held, from all evidence; the same at every lambda."""
        stages, state = _state_of(evidence)
        weights = self.weights[state_index(stages, self.stages)]
        return tuple(sigmoid(state @ weights[:, : len(stages)])[0].tolist())

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
        return float((partial_features(_state_of(evidence)[1], statistics) @ weights)[0])

    def saving_weights(
        self, held: Sequence[int], drafted: Drafted, lam: float
    ) -> FloatArray | None:
        """Of `partial_features`; None where abandoning was not shown to pay."""
        weights = self.savings.get((state_index(held, self.stages), *drafted))
        if weights is None:
            return None
        chosen = weights[:, nearest_lam(self.lam_grid, lam)]
        return chosen if chosen.any() else None

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        arrays: dict[str, NDArray[np.generic]] = {
            "stages": np.array(self.stages),
            "lam_grid": self.lam_grid,
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
        weights = tuple(arrays[f"state{i}"].astype(np.float64) for i in range(num_states))
        num_prompt_features = len(weights[0]) - 1
        for index, matrix in enumerate(weights):
            held = held_of(index, stages)
            num_outputs = len(held) + 2 * len(grid) * len(later_stages(held, stages))
            wanted = (_num_features(num_prompt_features, len(held)), num_outputs)
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
        return cls(stages, grid, weights, savings)


def place_lam(grid: FloatArray, lam: float) -> tuple[int, int, float]:
    """The grid points around `lam`, and how far it is from the lower to the upper one.

    Raises ConfigError for a lambda outside the grid.
    """
    check_lam(lam)
    if lam > grid[-1]:
        raise ConfigError(
            f"lambda is {lam:g}; this artifact is fitted for 0 to {grid[-1]:.4g}, "
            "where the best answer is bought at any price."
        )
    high = int(np.searchsorted(grid, lam))
    if grid[high] == lam:
        return high, high, 0.0
    if high == 1:
        return 0, 1, float(lam / grid[1])
    low = high - 1
    return low, high, float(np.log(lam / grid[low]) / np.log(grid[high] / grid[low]))


def nearest_lam(grid: FloatArray, lam: float) -> int:
    """Place of the grid point nearest in log lambda; raises as `place_lam`."""
    low, high, share = place_lam(grid, lam)
    return low if share < 0.5 else high


def state_index(held: Sequence[int], stages: Sequence[int]) -> int:
    return sum(1 << stages.index(stage) for stage in held)


def held_of(index: int, stages: Sequence[int]) -> tuple[int, ...]:
    """The stages held in the state of this index."""
    return tuple(stage for place, stage in enumerate(stages) if index >> place & 1)


def later_stages(held: Sequence[int], stages: Sequence[int]) -> Sequence[int]:
    """Those of the ascending `stages` that can still run: above the last one held."""
    return stages[bisect.bisect_right(stages, held[-1]) :] if held else stages


def may_abandon(held: Sequence[int], stages: Sequence[int]) -> Sequence[int]:
    """The next stages without whose draft an answer can still be had."""
    later = later_stages(held, stages)
    return later if held else later[:-1]


def _saving_name(key: SavingKey) -> str:
    return "saving{}_{}_{}".format(*key)


def _state_of(evidence: Evidence) -> tuple[tuple[int, ...], FloatArray]:
    """The stages held, and the features of this state, one row."""
    held = evidence.held
    features = state_features(
        evidence.features[None],
        np.array([[draft.quality for draft in held]]),
        np.array([_agreements([draft.answer for draft in held])]),
        held[-1].features[STATE_COLUMNS][None] if held else np.empty((1, 0), dtype=np.float32),
    )
    return tuple(draft.stage for draft in held), features


def partial_features(state: FloatArray, statistics: NDArray[np.floating]) -> FloatArray:
    """What tells whether to abandon a draft: the state it is made in, and its first tokens."""
    return np.concatenate([state, statistics], axis=1)


def state_features(
    prompt: NDArray[np.floating],
    quality: FloatArray,
    agreement: NDArray[np.floating],
    statistics: NDArray[np.floating],
) -> FloatArray:
    """Evidence in one state, a row each: shapes (num_rows, prompt features), (num_rows, held),
    (num_rows, pairs of held) in the order (0,1), (0,2), (1,2), ... and (num_rows, statistics).
    """
    num_rows, num_held = quality.shape
    columns = [np.ones((num_rows, 1)), prompt]
    if num_held:
        odds = logit(quality, 0.01)
        columns += [odds, quality, statistics]
    if num_held > 1:
        agrees = agreement[:, 1 - num_held :].max(axis=1, keepdims=True)
        last = odds[:, -1:]
        columns += [quality.max(axis=1, keepdims=True), agreement, agrees, agrees * last]
    return np.concatenate(columns, axis=1)


def _num_features(num_prompt_features: int, num_held: int) -> int:
    no_rows = (
        np.empty((0, num_prompt_features)),
        np.empty((0, num_held)),
        np.empty((0, num_held * (num_held - 1) // 2)),
        np.empty((0, len(STATE_STATISTICS))),
    )
    return int(state_features(*no_rows).shape[1])


def _agreements(answers: Sequence[str]) -> list[float]:
    return [float(agree(answers[j], answers[i])) for j in range(len(answers)) for i in range(j)]


def returned_index(stop_quality: FloatArray) -> NDArray[np.int64]:
    """Place of the draft to return in each row: the best estimate, ties to the later."""
    num_held = stop_quality.shape[1]
    returned: NDArray[np.int64] = num_held - 1 - np.argmax(stop_quality[:, ::-1], axis=1)
    return returned


def state_values(stop: FloatArray, go: FloatArray, lam: FloatArray) -> StateValues:
    """Expected losses: of stopping lam * (1 - q), of going on cost + lam * (1 - q).

    `go` has shape (num_rows, num_later, 2, num_lams): quality and cost.
    """
    # np.clip takes several times as long as these on the few numbers of one decision
    quality, cost = np.minimum(np.maximum(go[:, :, 0], 0), 1), np.maximum(go[:, :, 1], 0)
    values_go = cost + lam * (1 - quality)
    if not stop.shape[1]:
        return StateValues(stop, np.full((len(stop), len(lam)), np.inf), values_go)
    return StateValues(stop, lam * (1 - stop.max(axis=1))[:, None], values_go)
