"""What few graded prompts tell of a stage that joins a fitted ladder, shrunk to the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.calibration import fit_logistic, logit
from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.guarded import GuardedPolicy
from adaptive_sd.decision.induced import InducedPolicy
from adaptive_sd.decision.joined import JoinedPolicy
from adaptive_sd.decision.loss import loss_of
from adaptive_sd.decision.newcomer import (
    NUM_LEVELS,
    Known,
    Newcomer,
    after_features,
    before_features,
    contradicted,
    contradiction,
    known_of,
)
from adaptive_sd.decision.noise import noise_units
from adaptive_sd.decision.policies import ThresholdPolicy
from adaptive_sd.decision.rollout import roll_out_all
from adaptive_sd.decision.shrinkage import (
    INFORMATION,
    SLOPE_PROMPTS,
    Labelled,
    mean_quality,
    shrunk_logistic,
)
from adaptive_sd.decision.states import ODDS_MARGIN, StateOf, held_of, state_index

FloatArray = NDArray[np.float64]

CAUTION = 0.2
"""The decisions go by this quantile of what the newcomer's mean quality may be."""
EVIDENCE = 1.0
"""Standard errors by which the newcomer must be seen to save loss at a lambda, to run there."""


def join(
    policy: GuardedPolicy, table: FitTable, stage: int, *, caution: float = CAUTION
) -> GuardedPolicy:
    """With the stage, which `policy` never runs, where the graded prompts of `table` show a gain.

    At each lambda the policy is as it was unless the one that knows the stage, or the stage alone,
    loses less on these prompts, by EVIDENCE standard errors of the paired difference.
    """
    old = policy.induced
    assert isinstance(old, InducedPolicy)
    grid = old.lam_grid
    joined = JoinedPolicy(old, learn(old, table, stage, caution=caution))
    alone = ThresholdPolicy((stage,), ())
    before = _losses(policy, table)
    tried = {
        None: _losses(GuardedPolicy(joined, (None,) * len(grid)), table),
        alone: _losses(GuardedPolicy(old, (alone,) * len(grid)), table),
    }
    runs, chains = np.zeros(len(grid), dtype=np.bool_), list(policy.chains)
    shown = {chain: noise_units(found, before, table.group) for chain, found in tried.items()}
    for place in range(len(grid)):
        best = min(tried, key=lambda chain: float(tried[chain][:, place].mean()))
        if shown[best][place] <= -EVIDENCE:
            runs[place], chains[place] = best is None, best
    newcomer = replace(joined.newcomer, runs=runs)
    return GuardedPolicy(replace(joined, newcomer=newcomer), tuple(chains))


def _losses(policy: GuardedPolicy, table: FitTable) -> FloatArray:
    """Shape (num_prompts, num_lams)."""
    rolled = roll_out_all(policy, table, policy.lam_grid.tolist())
    losses: FloatArray = loss_of(rolled.cost, rolled.quality, policy.lam_grid)
    return losses


def learn(old: InducedPolicy, table: FitTable, stage: int, *, caution: float) -> Newcomer:
    """What the graded prompts of `table` tell of the stage, at all lambdas."""
    evidence = _Evidence(old, table)
    before = evidence.shrunk(evidence.before, stage, np.array([0.0, 1.0, 0.5]))
    start = np.array([0.0, 0.3, 0.7, evidence.tells, evidence.tells, 0.7, 0.5])
    after = evidence.shrunk(evidence.after, stage, start)
    posterior = mean_quality(table.quality, stage)
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
        runs=np.ones(len(old.lam_grid), dtype=np.bool_),
    )
    return _with_relief(JoinedPolicy(old, newcomer), table).newcomer


def make_room(policy: GuardedPolicy, stage: int) -> GuardedPolicy:
    """The policy on a ladder with one more stage at this place, which it never runs."""

    def moved(stages: Sequence[int]) -> tuple[int, ...]:
        return tuple(s + (s >= stage) for s in stages)

    induced = policy.induced
    if isinstance(induced, InducedPolicy):
        savings = {(i, k + (k >= stage), at): w for (i, k, at), w in induced.savings.items()}
        induced = replace(induced, stages=moved(induced.stages), savings=savings)
    chains = [c and replace(c, stages=moved(c.stages)) for c in policy.chains]
    return GuardedPolicy(induced, tuple(chains))


class _Evidence:
    """What the old policy says of few prompts in each of its states."""

    def __init__(self, old: InducedPolicy, table: FitTable) -> None:
        self.old, self.table = old, table
        self.state_of: StateOf = lambda held: table.state(held)
        apart = ~np.eye(table.num_stages, dtype=np.bool_)
        self.tells = float((table.agreement & apart).any())
        """1, or 0 where no answers ever agree: then that they do not tells nothing."""

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
        beside = {k: tuple(s for s in stages if s != k) for k in stages if len(stages) > 1}
        others = [labelled(k, among) for k, among in beside.items()]
        return shrunk_logistic(others, labelled(stage, stages), start)

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
            mean=np.array([self.tells, 1.0]),
            precision=np.array([SLOPE_PROMPTS * INFORMATION, 1e6]),
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
