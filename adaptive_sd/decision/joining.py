"""What few graded prompts tell of a stage that joins a fitted ladder, shrunk to the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from adaptive_sd.decision.calibration import fit_logistic, logit
from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.guarded import GuardedPolicy
from adaptive_sd.decision.induced import InducedPolicy, StateOf, held_of, state_index
from adaptive_sd.decision.joined import (
    NUM_LEVELS,
    ODDS_MARGIN,
    JoinedPolicy,
    Known,
    Newcomer,
    after_features,
    before_features,
    contradicted,
    contradiction,
    known_of,
)

FloatArray = NDArray[np.float64]

PRIOR_PROMPTS = 10.0
"""Graded prompts that the other stages' mean quality is worth."""
SLOPE_PROMPTS = 30.0
"""Graded prompts that what evidence means for the other stages is worth."""
CAUTION = 0.2
"""The decisions go by this quantile of what the newcomer's mean quality may be."""
_INFORMATION = 0.2
"""Of one graded prompt on a log odds: p * (1 - p) near the middle."""


class Labelled(NamedTuple):
    """Rows of evidence on drafts of one stage; column 0 is constant."""

    rows: FloatArray  # (num_rows, num_columns)
    quality: FloatArray  # (num_rows,)
    weight: FloatArray  # (num_rows,), together the number of prompts


class MeanQuality(NamedTuple):
    """The Beta posterior of a stage's mean quality: so many right and wrong answers."""

    right: float
    wrong: float

    @property
    def mean(self) -> float:
        return self.right / (self.right + self.wrong)

    def quantile(self, share: float) -> float:
        return float(beta.ppf(share, self.right, self.wrong))


def mean_quality(table: FitTable, stage: int) -> MeanQuality:
    """Prior: the other stages' mean, worth PRIOR_PROMPTS."""
    quality = table.quality[:, stage]
    prior = np.clip(np.delete(table.quality, stage, axis=1).mean(), 0.05, 0.95)
    return MeanQuality(
        float(PRIOR_PROMPTS * prior + quality.sum()),
        float(PRIOR_PROMPTS * (1 - prior) + (1 - quality).sum()),
    )


def shrunk_logistic(others: Sequence[Labelled], own: Labelled, start: FloatArray) -> FloatArray:
    """Weights of the log odds of `own`, with those of the others as prior; these have `start` as.

    The others have one slope of each column together, and each a constant of its own. `start` is
    the prior where there are none.
    """
    slopes = SLOPE_PROMPTS * _INFORMATION * own.rows[:, 1:].var(axis=0) + 1e-3
    prior = start
    if others:
        pooled = np.concatenate([data.rows[:, 1:] for data in others])
        constants = np.repeat(np.eye(len(others)), [len(data.quality) for data in others], axis=0)
        found = fit_logistic(
            np.concatenate([constants, pooled], axis=1),
            np.concatenate([data.quality for data in others]),
            mean=np.concatenate([np.full(len(others), start[0]), start[1:]]),
            precision=np.concatenate([np.full(len(others), 0.1), slopes]),
            weight=np.concatenate([data.weight for data in others]),
        )
        prior = np.concatenate([[found[: len(others)].mean()], found[len(others) :]])
    precision = np.concatenate([[PRIOR_PROMPTS * _INFORMATION], slopes])
    return fit_logistic(own.rows, own.quality, mean=prior, precision=precision, weight=own.weight)


def join(
    old: InducedPolicy, table: FitTable, stage: int, *, caution: float = CAUTION
) -> JoinedPolicy:
    """`old` is of the ladder with the stage, which it never runs; `table` is of graded prompts."""
    evidence = _Evidence(old, table)
    before = evidence.shrunk(evidence.before, stage, np.array([0.0, 1.0, 0.5]))
    after = evidence.shrunk(evidence.after, stage, np.array([0.0, 0.3, 0.7, 1.0, 1.0, 0.7, 0.5]))
    posterior = mean_quality(table, stage)
    lowered = float(logit(posterior.mean) - logit(posterior.quantile(caution)))
    doubt, num_states = evidence.doubt(stage), 2 ** len(old.stages)
    newcomer = Newcomer(
        stage=stage,
        before=before,
        after=after,
        caution=lowered,
        reveals=np.stack(
            [
                evidence.reveals(stage, held_of(i, old.stages), before, after, doubt)
                for i in range(num_states)
            ]
        ),
        doubt=doubt,
        cost_ratios=evidence.cost_ratios(stage),
        relief=np.zeros((num_states, len(old.stages), len(old.lam_grid))),
    )
    return _with_relief(JoinedPolicy(old, newcomer), table)


def make_room(policy: GuardedPolicy, stage: int) -> GuardedPolicy:
    """The policy on a ladder with one more stage at this place, which it never runs."""

    def moved(stages: Sequence[int]) -> tuple[int, ...]:
        return tuple(s + (s >= stage) for s in stages)

    induced = policy.induced
    if isinstance(induced, InducedPolicy):
        savings = {(i, *moved([k]), at): w for (i, k, at), w in induced.savings.items()}
        induced = replace(induced, stages=moved(induced.stages), savings=savings)
    chains = [c and replace(c, stages=moved(c.stages)) for c in policy.chains]
    return GuardedPolicy(induced, tuple(chains))


class _Evidence:
    """What the old policy says of few prompts in each of its states."""

    def __init__(self, old: InducedPolicy, table: FitTable) -> None:
        self.old, self.table = old, table
        self.state_of: StateOf = lambda held: table.state(held)

    def known(self, held: Sequence[int], among: Sequence[int]) -> Known:
        return known_of(self.old, held, self.state_of, among)

    def before(self, target: int, among: tuple[int, ...]) -> Labelled:
        """Rows before the target's draft is made, in each state in which it can be."""
        earlier = tuple(stage for stage in among if stage < target)
        return self._labelled(target, among, earlier, lambda held, known: before_features(known))

    def after(self, target: int, among: tuple[int, ...]) -> Labelled:
        """Rows with the target's draft, beside those of each state of the stages `among` all."""

        def rows(held: Sequence[int], known: Known) -> FloatArray:
            return after_features(known, *self.drafted(target, held))

        return self._labelled(target, among, among, rows)

    def shrunk(
        self,
        labelled: Callable[[int, tuple[int, ...]], Labelled],
        stage: int,
        start: FloatArray,
    ) -> FloatArray:
        """Weights for the stage, with those of the old stages, each beside the others, as prior."""
        stages = self.old.stages
        others = [labelled(k, tuple(s for s in stages if s != k)) for k in stages]
        return shrunk_logistic(others if len(stages) > 1 else [], labelled(stage, stages), start)

    def _labelled(
        self,
        target: int,
        among: tuple[int, ...],
        stages: tuple[int, ...],
        rows_of: Callable[[Sequence[int], Known], FloatArray],
    ) -> Labelled:
        states = [held_of(index, stages) for index in range(2 ** len(stages))]
        rows = [rows_of(held, self.known(held, among)) for held in states]
        quality = np.tile(self.table.quality[:, target], len(states))
        return Labelled(np.concatenate(rows), quality, np.full(len(quality), 1 / len(states)))

    def drafted(self, target: int, held: Sequence[int]) -> tuple[FloatArray, NDArray[np.bool_]]:
        """The log odds of the target's draft by itself, and whether it agrees with each held."""
        own = logit(self.table.estimates[:, target], ODDS_MARGIN)
        return own, self.table.agreement[:, target, list(held)]

    def reveals(
        self,
        stage: int,
        held: Sequence[int],
        before: FloatArray,
        after: FloatArray,
        doubt: float,
    ) -> FloatArray:
        """Means of NUM_LEVELS groups of prompts, by how far the stage's own log odds move."""
        known, (own, agrees) = self.known(held, self.old.stages), self.drafted(stage, held)
        ours = after_features(known, own, agrees) @ after - before_features(known) @ before
        theirs = np.zeros_like(ours)
        if held:
            theirs = contradicted(known.odds, doubt, own, agrees).max(axis=1) - known.best
        moved = np.stack([ours, theirs], axis=1)[np.argsort(ours)]
        return np.stack([group.mean(axis=0) for group in np.array_split(moved, NUM_LEVELS)])

    def doubt(self, stage: int) -> float:
        """Pooled over pairs of stages, of which the second contradicts the first."""
        rows, quality = [], []
        for k in self.old.stages:
            (odds,) = self.known((k,), self.old.stages).odds.T
            for j in (*self.old.stages, stage):
                apart = ~self.table.agreement[:, k, j]
                if j != k:
                    told = contradiction(logit(self.table.estimates[:, j], ODDS_MARGIN))
                    rows.append(np.stack([told, odds], axis=1)[apart])
                    quality.append(self.table.quality[apart, k])
        found = fit_logistic(
            np.concatenate(rows),
            np.concatenate(quality),
            mean=np.ones(2),
            precision=np.array([SLOPE_PROMPTS * _INFORMATION, 1e6]),
        )
        return max(0.0, float(found[0]))

    def cost_ratios(self, stage: int) -> FloatArray:
        cost = self.known((), self.old.stages).cost.sum()
        ways = [(), *((s,) for s in self.old.stages)]
        return np.array(
            [
                self.table.cost_of(stage, w).sum() / cost if not w or w[0] < stage else 0.0
                for w in ways
            ]
        )


def _with_relief(policy: JoinedPolicy, table: FitTable) -> JoinedPolicy:
    """From the largest states down, since what is saved later is saved before as well."""
    old, relief = policy.old, policy.newcomer.relief.copy()
    for index in reversed(range(len(relief))):
        held = held_of(index, old.stages)
        found = replace(policy, newcomer=replace(policy.newcomer, relief=relief))
        saved = np.stack(
            [
                _least(old, held, table, lam) - _least(found, held, table, lam)
                for lam in old.lam_grid.tolist()
            ],
            axis=1,
        ).mean(axis=0)
        if held:
            place = old.stages.index(held[-1])
            relief[state_index(held[:-1], old.stages), place] = np.maximum(saved, 0)
    return replace(policy, newcomer=replace(policy.newcomer, relief=relief))


def _least(
    policy: InducedPolicy | JoinedPolicy, held: Sequence[int], table: FitTable, lam: float
) -> FloatArray:
    """The estimated loss of what the policy does in a state."""
    values = policy.estimate(held, lambda some: table.state(some), lam)
    least: FloatArray = np.minimum(
        values.value_stop[:, 0], values.values_go[:, :, 0].min(axis=1, initial=np.inf)
    )
    return least
