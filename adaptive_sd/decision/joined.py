"""A fitted policy, and a stage that joined its ladder on few graded prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.calibration import sigmoid
from adaptive_sd.decision.induced import InducedPolicy, SavingKey, StateValues, decide_by
from adaptive_sd.decision.lams import nearest_lam, place_lam
from adaptive_sd.decision.loss import loss_of
from adaptive_sd.decision.newcomer import (
    AFTER_COLUMNS,
    BEFORE_COLUMNS,
    NUM_LEVELS,
    Known,
    Newcomer,
    after_features,
    before_features,
    contradicted,
    known_of,
)
from adaptive_sd.decision.partial import Drafted
from adaptive_sd.decision.policies import Choice, Evidence
from adaptive_sd.decision.states import StateOf, drafted_of, later_stages, state_index, state_reader
from adaptive_sd.errors import ArtifactError

FloatArray = NDArray[np.float64]


class _Sides(NamedTuple):
    """Of going on: expected loss, quality in the end and cost from here, (num_rows, ...) each."""

    loss: FloatArray
    quality: FloatArray
    cost: FloatArray

    @classmethod
    def of(cls, loss: FloatArray, quality: FloatArray, lam: float) -> Self:
        """Where the loss is less than that of the quality for nothing, the quality is higher."""
        cost = loss - loss_of(0.0, quality, lam)
        if lam > 0:
            quality = quality + np.maximum(-cost, 0) / lam
        return cls(loss, quality, np.maximum(cost, 0))

    def put(self, values: StateValues, place: int) -> StateValues:
        """One stage (num_rows,) among the others of the values."""
        sides = (values.values_go, values.quality_go, values.cost_go)
        loss, quality, cost = (
            np.insert(side, place, own[:, None], axis=1)
            for side, own in zip(sides, self, strict=True)
        )
        return values._replace(values_go=loss, quality_go=quality, cost_go=cost)


@dataclass(frozen=True, slots=True, eq=False)
class JoinedPolicy:
    """The old policy as it was, with the newcomer as one more alternative in every state.

    Running the newcomer costs what it does, and then the better of returning the best draft and of
    going on as the old policy would without it. The quality that is told of its draft is the one
    that decides, with caution. Stages are those of the ladder with the newcomer.
    """

    old: InducedPolicy
    newcomer: Newcomer

    @property
    def stages(self) -> tuple[int, ...]:
        return tuple(sorted((*self.old.stages, self.newcomer.stage)))

    @property
    def running(self) -> tuple[int, ...]:
        """Those that run at some lambda: the newcomer may be none of them."""
        return self.stages if self.newcomer.runs.any() else self.old.stages

    @property
    def lam_grid(self) -> FloatArray:
        return self.old.lam_grid

    @property
    def savings(self) -> Mapping[SavingKey, FloatArray]:
        return self.old.savings

    def decide(self, evidence: Evidence, lam: float) -> Choice:
        """Raises ConfigError for a lambda outside the grid."""
        return decide_by(self, evidence, lam)

    def estimate(self, held: Sequence[int], state_of: StateOf, lam: float) -> StateValues:
        """See InducedPolicy.estimate."""
        new = self.newcomer
        others = tuple(stage for stage in held if stage != new.stage)
        old = self.old.estimate(others, state_of, lam)
        known = known_of(self.old, others, state_of, self.old.stages)
        if new.stage in held:
            return self._with_draft(held, others, old, known, state_of(held), lam)
        later = later_stages(held, self.stages)
        if new.stage not in later:
            return old
        place = later.index(new.stage)
        if not new.runs[nearest_lam(self.lam_grid, lam)]:
            return _Sides(*np.full((3, len(known.odds)), np.inf)).put(old, place)
        relieved = np.maximum(old.values_go - self._relief(others, lam)[:, None], 0)
        sides = _Sides.of(relieved, old.quality_go, lam)
        return self._running(others, known, old, place, lam).put(
            StateValues(old.stop_quality, old.value_stop, *sides), place
        )

    def draft_costs(self, evidence: Evidence) -> dict[int, float]:
        """See InducedPolicy.draft_costs."""
        new = self.newcomer
        old_held = tuple(draft for draft in evidence.held if draft.stage != new.stage)
        costs = self.old.draft_costs(replace(evidence, held=old_held))
        last = max((draft.stage for draft in evidence.held), default=-1)
        if new.stage <= max(last, evidence.abandoned):
            return {stage: cost for stage, cost in costs.items() if stage > last}
        others = tuple(draft.stage for draft in old_held)
        known = known_of(self.old, others, state_reader(evidence), self.old.stages)
        return costs | {new.stage: float(self._draft_cost(others, known)[0])}

    def _with_draft(
        self,
        held: Sequence[int],
        others: Sequence[int],
        old: StateValues,
        known: Known,
        state: FloatArray,
        lam: float,
    ) -> StateValues:
        new, place = self.newcomer, list(held).index(self.newcomer.stage)
        num_prompt_features = len(self.old.weights[0]) - 1
        own, agrees = drafted_of(state, num_prompt_features, len(held), place)
        odds = contradicted(known.odds, new.doubt, own, agrees)
        ours = after_features(known, own, agrees) @ new.after - new.caution
        quality = sigmoid(np.insert(odds, place, ours, axis=1))
        first = old.values_go.shape[1] - len(later_stages(held, self.stages))
        return StateValues(
            quality,
            loss_of(0.0, quality.max(axis=1), lam)[:, None],
            *(side[:, first:] for side in (old.values_go, old.quality_go, old.cost_go)),
        )

    def _relief(self, others: Sequence[int], lam: float) -> FloatArray:
        """Of each later old stage."""
        low, high, share = place_lam(self.lam_grid, lam)
        relief = self.newcomer.relief[state_index(others, self.old.stages)]
        later = len(later_stages(others, self.old.stages))
        at: FloatArray = relief[:, low] * (1 - share) + relief[:, high] * share
        return at[len(at) - later :]

    def _draft_cost(self, others: Sequence[int], known: Known) -> FloatArray:
        """Of the newcomer's draft, which verifies the last of the others'."""
        verified = 1 + self.old.stages.index(others[-1]) if others else 0
        cost: FloatArray = self.newcomer.cost_ratios[verified] * known.cost
        return cost

    def _running(
        self, others: Sequence[int], known: Known, old: StateValues, place: int, lam: float
    ) -> _Sides:
        """Of running the newcomer; the old stages from `place` on come after it."""
        new = self.newcomer
        odds = before_features(known) @ new.before - new.caution
        ours, theirs = new.reveals[state_index(others, self.old.stages)].T
        quality = sigmoid(odds[:, None] + ours)
        if others:
            quality = np.maximum(quality, sigmoid(known.best[:, None] + theirs))
        loss = loss_of(0.0, quality, lam)
        after = old.values_go[:, place:, 0]
        if after.shape[1]:
            best, rows = after.argmin(axis=1), np.arange(len(after))
            goes = after[rows, best][:, None] < loss
            quality = np.where(goes, old.quality_go[rows, place + best, 0][:, None], quality)
            loss = np.where(goes, after[rows, best][:, None], loss)
        whole = self._draft_cost(others, known) + loss.mean(axis=1)
        return _Sides.of(whole, quality.mean(axis=1), lam)

    def saving_weights(
        self, held: Sequence[int], drafted: Drafted, lam: float
    ) -> FloatArray | None:
        """See InducedPolicy.saving_weights: nothing was seen of the newcomer's draft growing."""
        if self.newcomer.stage in (*held, drafted.stage):
            return None
        return self.old.saving_weights(held, drafted, lam)

    def saved(
        self, evidence: Evidence, drafted: Drafted, statistics: NDArray[np.floating], lam: float
    ) -> float:
        """See InducedPolicy.saved."""
        if self.newcomer.stage in (drafted.stage, *(draft.stage for draft in evidence.held)):
            return 0.0
        return self.old.saved(evidence, drafted, statistics, lam)

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        new = self.newcomer
        return self.old.to_arrays() | {
            "joined_stage": np.array(new.stage),
            "joined_before": new.before,
            "joined_after": new.after,
            "joined_odds": np.array([new.caution, new.doubt]),
            "joined_reveals": new.reveals,
            "joined_cost_ratios": new.cost_ratios,
            "joined_relief": new.relief,
            "joined_runs": new.runs,
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.generic]]) -> Self:
        """Raises ArtifactError when shapes do not fit; KeyError when an array is missing."""
        old = InducedPolicy.from_arrays(arrays)
        num_stages = len(old.stages)
        shapes = {
            "stage": (),
            "before": (BEFORE_COLUMNS,),
            "after": (AFTER_COLUMNS,),
            "odds": (2,),
            "reveals": (2**num_stages, NUM_LEVELS, 2),
            "cost_ratios": (1 + num_stages,),
            "relief": (2**num_stages, num_stages, len(old.lam_grid)),
            "runs": old.lam_grid.shape,
        }
        found = {name: arrays[f"joined_{name}"].astype(np.float64) for name in shapes}
        for name, shape in shapes.items():
            if found[name].shape != shape:
                raise ArtifactError(f"joined_{name} has shape {found[name].shape}, not {shape}.")
        stage = int(found.pop("stage"))
        if stage < 0 or stage in old.stages:
            raise ArtifactError(f"stage {stage} cannot join the stages {old.stages}.")
        caution, doubt = found.pop("odds").tolist()
        runs = found.pop("runs") > 0
        return cls(old, Newcomer(stage=stage, caution=caution, doubt=doubt, runs=runs, **found))
