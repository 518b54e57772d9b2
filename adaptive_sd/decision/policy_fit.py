"""Fits the policy of a ladder: the stages that pay, continuation values, and the guard."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.abandon_guard import abandon_where_it_pays
from adaptive_sd.decision.chains import chains_of
from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.folds import make_folds
from adaptive_sd.decision.guarded import GuardedPolicy
from adaptive_sd.decision.induced import InducedPolicy, SavingKey
from adaptive_sd.decision.induction import NUM_FOLDS, InductionFit, induce, induce_polished
from adaptive_sd.decision.lams import place_lam
from adaptive_sd.decision.loss import loss_of
from adaptive_sd.decision.noise import NOISE, noise_among, noise_units, standard_error
from adaptive_sd.decision.policies import ThresholdPolicy
from adaptive_sd.decision.rollout import Rollout, roll_out_chain
from adaptive_sd.decision.state_fitting import FoldedTable

FloatArray = NDArray[np.float64]

RECOMMENDED_SHARE = 0.95
"""Share of the best single stage's quality that the recommended lambda keeps."""

_NUM_DRAWS = 5
_DRAWN_ROWS = 12_000
"""Draws of folds are averaged up to this many rows in all: with more prompts they differ less."""

_LEAST_RUN = 0.005
"""Share of prompts on which a stage that pays runs at some lambda."""

CHOICE_PROMPTS = 20_000
"""At most so many decide which stages pay: what so few cannot show is worth next to nothing."""


class Seen(NamedTuple):
    """Means over prompts at one lambda."""

    quality: float
    cost: float
    answer_share: FloatArray  # (num_stages,), of prompts that a stage answers
    run_share: FloatArray  # (num_stages,), of prompts on which a stage ran


class Means(NamedTuple):
    """Over prompts; at each lambda of a grid, or at one."""

    quality: FloatArray  # (num_lams,), or ()
    cost: FloatArray


class PolicyFit(NamedTuple):
    """The policy, and what it brought about out of fold at each lambda of its grid.

    `margin` is what its quality is shown to be above RECOMMENDED_SHARE of the best single stage's:
    the mean difference on the same prompts less NOISE standard errors. `patient`: what it did
    before it could abandon drafts; None where no partial evidence is.
    """

    policy: GuardedPolicy
    quality: FloatArray  # (num_lams,)
    cost: FloatArray  # (num_lams,)
    answer_share: FloatArray  # (num_lams, num_stages)
    run_share: FloatArray  # (num_lams, num_stages)
    margin: FloatArray  # (num_lams,)
    recommended_lam: float
    is_myopic: NDArray[np.bool_]  # (num_lams,), whether the next drafts alone decide
    patient: Means | None = None

    def seen_at(self, lam: float) -> Seen:
        """Between grid points linear in log lambda."""
        quality, cost, answered, ran = (self._between(seen, lam) for seen in self[1:5])
        return Seen(float(quality), float(cost), answered, ran)

    def patient_at(self, lam: float) -> Means:
        """As `seen_at`, without abandoning drafts."""
        assert self.patient is not None  # asked where drafts may be abandoned
        return Means(*(self._between(seen, lam) for seen in self.patient))

    def abandons(self) -> dict[int, NDArray[np.bool_]]:
        """The stages whose drafts may be abandoned, each with the lambdas of the grid at which."""
        found: dict[int, NDArray[np.bool_]] = {}
        for (_, stage, _), weights in sorted(self.policy.induced.savings.items()):
            at = self.policy.induces & weights.any(axis=0)
            found[stage] = at | found.get(stage, np.zeros_like(at))
        return {stage: at for stage, at in sorted(found.items()) if at.any()}

    def _between(self, seen: FloatArray, lam: float) -> FloatArray:
        low, high, share = place_lam(self.policy.lam_grid, lam)
        between: FloatArray = seen[low] * (1 - share) + seen[high] * share
        return between


def fit_policy(table: FitTable, *, rng: np.random.Generator) -> PolicyFit:
    """Raises DataError for too few prompts."""
    seed = int(rng.integers(2**31))
    stages = paying_stages(table.draw(CHOICE_PROMPTS, seed=seed), seed=seed)
    num_draws = min(_NUM_DRAWS, -(-_DRAWN_ROWS // len(table.quality)))
    draws = [
        FoldedTable(table, make_folds(len(table.quality), NUM_FOLDS, rng=rng, groups=table.group))
        for _ in range(num_draws)
    ]
    plain = induce_polished(draws, stages)
    if table.part_cost is None:
        return guard([plain], table, rng=rng)
    abandoning = [induce(folded, stages, may_abandon=True) for folded in draws]
    found = guard(abandon_where_it_pays(abandoning, plain, table.group), table, rng=rng)
    without, decides = _means([plain]), found.policy.induces
    return found._replace(
        patient=Means(
            np.where(decides, without.quality, found.quality),
            np.where(decides, without.cost, found.cost),
        )
    )


def paying_stages(table: FitTable, *, seed: int) -> tuple[int, ...]:
    """The stages that the policy of all of them runs, out of fold, at some lambda.

    One that is run but not *shown* to pay is kept: on few prompts most of what stages are worth
    cannot be shown.
    """
    rng = np.random.default_rng(seed)
    folds = make_folds(len(table.quality), NUM_FOLDS, rng=rng, groups=table.group)
    ran = induce(FoldedTable(table, folds), range(table.num_stages)).run_share.max(axis=0)
    kept = ran >= _LEAST_RUN
    kept[ran.argmax()] = True
    return tuple(np.flatnonzero(kept).tolist())


def guard(draws: Sequence[InductionFit], table: FitTable, *, rng: np.random.Generator) -> PolicyFit:
    """The draws' mean policy, and a chain wherever that loses less out of fold, beyond the noise
    of all lambdas that are tried.

    The chain is the best single stage or threshold pair at that lambda; what it loses is what the
    best one on the other folds did.
    """
    induced = mean_policy([fit.policy for fit in draws])
    grid = induced.lam_grid
    candidates = [
        chain
        for size in (1, 2)
        for stages in itertools.combinations(induced.stages, size)
        for chain in chains_of(table, stages)
    ]
    rolled = [roll_out_chain(chain, table) for chain in candidates]
    cost, quality = np.stack([r.cost for r in rolled]), np.stack([r.quality for r in rolled])
    folds = make_folds(len(table.quality), NUM_FOLDS, rng=rng, groups=table.group)
    rows, members = np.arange(len(folds)), np.eye(NUM_FOLDS)[folds]
    ours = np.mean([fit.losses for fit in draws], axis=0)
    kept: FloatArray = np.mean([fit.quality for fit in draws], axis=0, dtype=np.float64)
    found = PolicyFit(
        GuardedPolicy(induced, (None,) * len(grid)),
        *_means(draws),
        np.mean([_answer_share(fit, table.num_stages) for fit in draws], axis=0),
        np.mean([fit.run_share for fit in draws], axis=0),
        margin=np.zeros(len(grid)),
        recommended_lam=0.0,
        is_myopic=draws[0].is_myopic,
    )
    chains: list[ThresholdPolicy | None] = [None] * len(grid)
    for place, lam in enumerate(grid):
        losses = loss_of(cost, quality, float(lam))
        sums = losses @ members
        chosen = (sums.sum(axis=1, keepdims=True) - sums).argmin(axis=0)[folds]
        units = noise_units(ours[:, place], losses[chosen, rows], table.group)
        if units <= noise_among(len(grid)):
            continue
        best = int(sums.sum(axis=1).argmin())
        chains[place] = candidates[best]
        kept[:, place] = quality[chosen, rows]
        found.quality[place] = kept[:, place].mean()
        found.cost[place] = cost[chosen, rows].mean()
        found.answer_share[place], found.run_share[place] = _shares(
            candidates[best], rolled[best], table.num_stages
        )
    margin = margin_of(kept, table)
    policy = GuardedPolicy(induced, tuple(chains))
    return found._replace(
        policy=policy,
        margin=margin,
        recommended_lam=recommend_lam(grid, margin, found.quality),
        is_myopic=found.is_myopic & policy.induces,
    )


def mean_policy(policies: Sequence[InducedPolicy]) -> InducedPolicy:
    """Of mean weights: what the draws of folds brought in, that takes out again.

    Drafts are abandoned where most draws of folds have shown that to pay.
    """
    weights = zip(*(policy.weights for policy in policies), strict=True)
    savings: dict[SavingKey, FloatArray] = {}
    for key in sorted({key for policy in policies for key in policy.savings}):
        found = np.stack([p.savings[key] for p in policies if key in p.savings])
        pays = 2 * found.any(axis=1).sum(axis=0) > len(policies)
        if pays.any():
            savings[key] = np.where(pays, found.sum(axis=0) / len(policies), 0.0)
    means = tuple(np.mean(w, axis=0) for w in weights)
    return replace(policies[0], weights=means, savings=savings)


def _means(draws: Sequence[InductionFit]) -> Means:
    return Means(
        np.mean([fit.quality.mean(axis=0, dtype=np.float64) for fit in draws], axis=0),
        np.mean([fit.cost.mean(axis=0, dtype=np.float64) for fit in draws], axis=0),
    )


def margin_of(quality: FloatArray, table: FitTable) -> FloatArray:
    """See PolicyFit; of `quality` (num_prompts, num_lams) out of fold."""
    best = int(table.quality.mean(axis=0).argmax())
    above = quality - RECOMMENDED_SHARE * table.quality[:, [best]]
    margin: FloatArray = above.mean(axis=0) - NOISE * standard_error(above, table.group)
    return margin


def recommend_lam(grid: FloatArray, margin: FloatArray, quality: FloatArray) -> float:
    """The least lambda whose margin, see PolicyFit, is not below 0; where none is, of best quality.

    The margin is taken as linear in log lambda between grid points. A mean alone would be chosen
    where it is high by luck: the first of many.
    """
    if margin.max() < 0:
        return float(grid[int(np.argmax(quality))])
    place = int(np.argmax(margin >= 0))
    if place < 2:  # there is no logarithm of 0
        return float(grid[place])
    share = margin[place - 1] / (margin[place - 1] - margin[place])
    return float(grid[place - 1] * (grid[place] / grid[place - 1]) ** share)


def _answer_share(fit: InductionFit, num_stages: int) -> FloatArray:
    """Of prompts that each stage answers, shape (num_lams, num_stages)."""
    return np.stack([(fit.stage == s).mean(axis=0) for s in range(num_stages)], axis=1)


def _shares(
    chain: ThresholdPolicy, rolled: Rollout, num_stages: int
) -> tuple[FloatArray, FloatArray]:
    """Of prompts that each stage answers, and on which each ran."""
    answered = np.bincount(rolled.stage, minlength=num_stages) / len(rolled.stage)
    ran = np.zeros(num_stages)
    for place, stage in enumerate(chain.stages):
        ran[stage] = (rolled.num_run > place).mean()
    return answered, ran
