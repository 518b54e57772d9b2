"""One state while it is fitted: odds of the drafts held, regressions of what may come next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.induced import returned_of
from adaptive_sd.decision.logistic import LogisticFit, fit_logistic_from
from adaptive_sd.decision.partial import Drafted
from adaptive_sd.decision.realised import Outcome
from adaptive_sd.decision.ridge import FoldedRidge, RidgeFit
from adaptive_sd.decision.states import columns_of

FloatArray = NDArray[np.float64]


class FoldedTable:
    """A table and the fold of each prompt; what is fitted in a state is fitted once."""

    def __init__(self, table: FitTable, folds: NDArray[np.int64]) -> None:
        self.table = table
        self.folds = folds
        self._odds: dict[tuple[int, ...], list[LogisticFit]] = {}

    def odds(self, held: tuple[int, ...], state: FloatArray) -> list[LogisticFit]:
        """Log odds that each draft held is right, whichever stages may run later.

        `state` (num_prompts, num_state_features) is the table's with these drafts held.
        """
        if held not in self._odds:
            first = 1 + self.table.prompt_features.shape[1]  # see state_features
            self._odds[held] = [
                fit_logistic_from(state, self.table.quality[:, s], self.folds, start=first + place)
                for place, s in enumerate(held)
            ]
        return self._odds[held]


class State(NamedTuple):
    """One state while its next stages are fitted, from the last of them on."""

    held: tuple[int, ...]
    features: FloatArray  # (num_prompts, num_state_features)
    stop: FloatArray  # (num_prompts, num_held), out of fold
    go: NDArray[np.float32]  # (num_prompts, num_later, 2, num_lams), out of fold where fitted
    alone: NDArray[np.float32]  # (num_prompts, num_later, 2, 1), of the next drafts alone
    ridge: FoldedRidge
    instead: FloatArray  # (num_prompts,), quality that gains are over
    base: RidgeFit | None
    """Of `instead`; None where it is estimated by `stop`."""

    @property
    def offered(self) -> Drafted | None:
        return Drafted(self.held[-1]) if self.held else None

    @classmethod
    def begin(
        cls, folded: FoldedTable, held: tuple[int, ...], num_lams: int, later: Sequence[int]
    ) -> State:
        """Nothing is fitted yet but the odds of the drafts held."""
        table, folds = folded.table, folded.folds
        features = table.state(held)
        stop = columns_of([fit.out_of_fold for fit in folded.odds(held, features)], len(folds))
        ridge = FoldedRidge(features, folds)
        if held:
            instead, base = table.quality[np.arange(len(stop)), returned_of(held, stop)], None
        else:
            instead = table.quality[:, list(later)].mean(axis=1)
            base = ridge.fit(instead[:, None])
        go = np.empty((len(folds), len(later), 2, num_lams), dtype=np.float32)
        return cls(held, features, stop, go, np.empty_like(go[..., :1]), ridge, instead, base)

    def regress(self, going: NDArray[np.float32], outcome: Outcome) -> FloatArray:
        """Fit quality and cost of running a stage; returns their weights.

        `going` (num_prompts, 2, num_lams) becomes the estimates out of fold; the weights have shape
        (num_state_features, 2, num_lams).
        """
        gain = self.ridge.fit(outcome.quality.astype(np.float64) - self.instead[:, None])
        if self.base is not None:
            gain = RidgeFit(*map(np.add, gain, self.base))
        cost = self.ridge.fit(outcome.cost.astype(np.float64))
        for kind, fit in enumerate((gain, cost)):
            going[:, kind] = fit.out_of_fold
        return np.stack([gain.weights, cost.weights], axis=1)
