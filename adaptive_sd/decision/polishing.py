"""Polishes a fitted policy: the loss that its decisions bring about is minimised itself.

Regressions get every state right on all prompts; what matters is the prompts that come to a state,
and there the side on which a decision falls. So the estimates are shifted a little, all states at
once, by gradient descent on the realised loss. What every alternative would have brought about is
recorded, so that loss is known exactly for decisions drawn with the chances softmax(-loss / t).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.induced import returned_of
from adaptive_sd.decision.loss import loss_of
from adaptive_sd.decision.standard import Standard
from adaptive_sd.decision.states import StateFit, columns_of, last_of, later_stages, state_index

FloatArray = NDArray[np.float64]

_TEMPERATURE = 0.5
"""As a share of how far the two least of the estimated losses lie apart: see _temperature."""

_PRIOR = 300.0
"""Weight of the squared shifts of standardised features, in units of the temperature, against the
sum of the prompts' losses: with more prompts the shifts may be larger."""

_MAX_STEPS = 6

MAX_PROMPTS = 20_000
"""So many are enough; more take time."""


class KnownState(NamedTuple):
    """What the loss of decisions needs of one state, for some prompts, at all lambdas."""

    standard: Standard  # of the features
    rows: FloatArray  # (num_prompts, num_state_features), standardised but for the constant
    best: FloatArray  # (num_prompts,), quality of the best draft held; 0 where none is
    go: NDArray[np.float32]  # (num_prompts, num_later, 2, num_lams), see StateFit
    least_costs: FloatArray  # (num_later,)
    returned: FloatArray | None  # (num_prompts,), realised quality; None where no draft is held
    paid: FloatArray  # (num_prompts, num_later), realised cost of the next draft
    next_states: tuple[int, ...]  # (num_later,), their indices

    def at(self, place: int) -> PolishedState:
        """At one lambda of the grid."""
        gain, cost = np.moveaxis(self.go[..., place], 2, 0)
        return PolishedState(self, np.ascontiguousarray(gain), np.maximum(cost, self.least_costs))


class PolishedState(NamedTuple):
    """A state at one lambda."""

    known: KnownState
    gain: NDArray[np.float32]  # (num_prompts, num_later)
    cost: FloatArray  # the same

    @property
    def shape(self) -> tuple[int, int]:
        """Of shifts: (num_state_features, num_later)."""
        return self.known.rows.shape[1], len(self.known.next_states)

    def quality(self, shift: FloatArray) -> FloatArray:
        """Before it is clipped, (num_prompts, num_later)."""
        quality: FloatArray = self.known.best[:, None] + self.gain + shift
        return quality

    def losses(self, shift: FloatArray, lam: float) -> FloatArray:
        """Estimated: of stopping, where a draft is held, and of each next stage."""
        going = loss_of(self.cost, np.clip(self.quality(shift), 0, 1), lam)
        if self.known.returned is None:
            return going
        return np.concatenate([loss_of(0.0, self.known.best, lam)[:, None], going], axis=1)


class RealisedLoss(NamedTuple):
    """Of shifts, at one lambda; each state's next ones come after it."""

    states: tuple[PolishedState, ...]
    lam: float
    temperature: float

    @classmethod
    def of(cls, states: tuple[PolishedState, ...], lam: float) -> RealisedLoss:
        """The temperature is a share of the gap between the two least losses: median of a state's
        prompts, mean of the states.
        """
        losses = [np.sort(state.losses(np.zeros_like(state.gain), lam), axis=1) for state in states]
        gaps = [float(np.median(x[:, 1] - x[:, 0])) for x in losses if x.shape[1] > 1]
        return cls(states, lam, _TEMPERATURE * float(np.mean(gaps)) if gaps else 0.0)

    @property
    def size(self) -> int:
        """How many shifts there are."""
        return sum(int(np.prod(state.shape)) for state in self.states)

    def least(self, start: FloatArray) -> FloatArray:
        """The shifts of least loss, as sought from those of the lambda before on."""
        if self.temperature == 0:  # all alternatives are alike
            return np.zeros_like(start)
        options = {"maxiter": _MAX_STEPS}
        found: FloatArray = minimize(self, start, jac=True, method="L-BFGS-B", options=options).x
        return found

    def shifts(self, flat: FloatArray) -> list[FloatArray]:
        """Of each state's qualities, in the scales of its features: PolishedState.shape.

        A step of 1 changes a loss by the temperature, a standard deviation off the mean.
        """
        ends = np.cumsum([np.prod(state.shape) for state in self.states])[:-1]
        parts = np.split(flat * (self.temperature / self.lam), ends)
        return [part.reshape(s.shape) for part, s in zip(parts, self.states, strict=True)]

    def __call__(self, flat: FloatArray) -> tuple[float, FloatArray]:
        """The mean loss in units of the temperature, with the prior, and its gradient."""
        moved = [s.known.rows @ w for s, w in zip(self.states, self.shifts(flat), strict=True)]
        chances = [self._chances(s, shift) for s, shift in zip(self.states, moved, strict=True)]
        realised, brought = self._realised(chances)
        num_prompts = len(moved[0])
        reached = [np.zeros(num_prompts) for _ in self.states]
        reached[0] += 1.0
        gradients = []
        for index, state in enumerate(self.states):
            first = chances[index].shape[1] - len(state.known.next_states)
            worse = reached[index][:, None] * (brought[index] - realised[index][:, None])
            quality = state.quality(moved[index])
            moves = (quality > 0) & (quality < 1)
            own = (worse * chances[index])[:, first:] * moves
            gradients.append((state.known.rows.T @ own).ravel())
            for place, after in enumerate(state.known.next_states):
                reached[after] += reached[index] * chances[index][:, first + place]
        prior = _PRIOR * self.temperature
        loss = float(realised[0].sum()) + prior * float(flat @ flat)
        gradient = np.concatenate(gradients) + 2 * prior * flat
        return loss / (self.temperature * num_prompts), gradient / (self.temperature * num_prompts)

    def _chances(self, state: PolishedState, shift: FloatArray) -> FloatArray:
        """Of each alternative, (num_prompts, num_alternatives)."""
        losses = state.losses(shift, self.lam)
        found = np.exp((losses.min(axis=1, keepdims=True) - losses) / self.temperature)
        chances: FloatArray = found / found.sum(axis=1, keepdims=True)
        return chances

    def _realised(self, chances: Sequence[FloatArray]) -> tuple[list[FloatArray], list[FloatArray]]:
        """Loss of each state, (num_prompts,), and of each alternative in it, as `chances`."""
        realised = [np.empty(0)] * len(self.states)
        brought = [np.empty((0, 0))] * len(self.states)
        for index in reversed(range(len(self.states))):
            known = self.states[index].known
            sides = [] if known.returned is None else [loss_of(0.0, known.returned, self.lam)]
            for place, after in enumerate(known.next_states):
                sides.append(known.paid[:, place] + realised[after])
            brought[index] = np.stack(sides, axis=1)
            realised[index] = (chances[index] * brought[index]).sum(axis=1)
        return realised, brought


class Polisher(NamedTuple):
    """States as they were fitted, in the order of their indices."""

    table: FitTable
    stages: tuple[int, ...]
    fitted: Sequence[StateFit]
    lam_grid: FloatArray
    least_costs: FloatArray  # (len(stages),)

    def polish(self, folds: NDArray[np.int64]) -> list[StateFit]:
        """With shifted estimates of quality, in place; at lambda 0 they are as they were.

        Those out of fold are shifted by what was found on the other folds, the weights by what was
        found on all prompts; of large tables on MAX_PROMPTS of them.
        """
        some = np.sort(np.random.default_rng(0).permutation(len(folds))[:MAX_PROMPTS])
        whole = self._shifts(some)
        found = {fold: self._shifts(some[folds[some] != fold]) for fold in np.unique(folds)}
        for fold, shifts in found.items():
            own = np.flatnonzero(folds == fold)
            for state, by in zip(self.fitted, shifts, strict=True):
                rows = self.table.state(state.held, own)
                state.go[own, :, 0] += np.tensordot(rows, by, axes=1).astype(np.float32)
        for state, by in zip(self.fitted, whole, strict=True):
            state.weights[:, :, 0] += by
        return list(self.fitted)

    def _shifts(self, rows: NDArray[np.int64]) -> list[FloatArray]:
        """Of the weights of quality, (num_state_features, num_later, num_lams) a state."""
        known = self.known(rows)
        shifts: list[list[FloatArray]] = []
        flat: FloatArray | None = None
        for place in range(1, len(self.lam_grid)):
            states = tuple(state.at(place) for state in known)
            loss = RealisedLoss.of(states, float(self.lam_grid[place]))
            flat = loss.least(np.zeros(loss.size) if flat is None else flat)
            found = zip(known, loss.shifts(flat), strict=True)
            shifts.append([state.standard.weights(x[0], x[1:]) for state, x in found])
        unshifted = map(np.zeros_like, shifts[0])
        return [np.stack(each, axis=-1) for each in zip(unshifted, *shifts, strict=True)]

    def known(self, rows: NDArray[np.int64]) -> list[KnownState]:
        """The states for some prompts."""
        return [self._known(fit, rows) for fit in self.fitted]

    def _known(self, fit: StateFit, rows: NDArray[np.int64]) -> KnownState:
        held, later = fit.held, later_stages(fit.held, self.stages)
        features = self.table.state(held, rows)
        standard = Standard.of(features)
        stop = fit.stop[rows]
        return KnownState(
            standard,
            rows=standard.with_constant(features),
            best=stop.max(axis=1, initial=0.0),
            go=fit.go[rows],
            least_costs=last_of(self.least_costs, len(later)),
            returned=self.table.quality[rows, returned_of(held, stop)] if held else None,
            paid=columns_of([self.table.cost_of(stage, held)[rows] for stage in later], len(rows)),
            next_states=tuple(state_index((*held, stage), self.stages) for stage in later),
        )
