"""Outcome tables of known structure, and the fitted policy as the cascade would drive it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from adaptive_sd.decision.features import FEATURE_DIM
from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.folds import make_folds
from adaptive_sd.decision.guarded import GuardedPolicy
from adaptive_sd.decision.induced import InducedPolicy
from adaptive_sd.decision.induction import NUM_FOLDS, InductionFit, induce
from adaptive_sd.decision.joining import make_room
from adaptive_sd.decision.partial import PARTIAL_STATISTICS, WHOLE, Drafted
from adaptive_sd.decision.policies import Evidence, HeldDraft
from adaptive_sd.decision.rollout import Rollout, roll_out
from adaptive_sd.decision.state_fitting import FoldedTable
from adaptive_sd.decision.states import STATE_COLUMNS, held_of, may_abandon
from adaptive_sd.types import Decision


def table_of(
    quality: np.ndarray,
    cost: np.ndarray,
    estimates: np.ndarray | None = None,
    *,
    prompt: np.ndarray | None = None,
    statistics: np.ndarray | None = None,
    answers: np.ndarray | None = None,
    cost_after: np.ndarray | None = None,
) -> FitTable:
    """`cost` may be one a stage. Without estimates, prompt or statistics these tell nothing."""
    num_prompts, num_stages = quality.shape
    if answers is None:
        agreement = np.zeros((num_prompts, num_stages, num_stages), dtype=bool)
    else:
        agreement = (answers[:, :, None] == answers[:, None, :]) & (answers != "")[:, :, None]
    return FitTable(
        quality=quality,
        cost=np.broadcast_to(cost, quality.shape).copy(),
        estimates=np.full(quality.shape, 0.5) if estimates is None else estimates,
        statistics=np.zeros((num_prompts, num_stages, len(STATE_COLUMNS)), np.float32)
        if statistics is None
        else statistics,
        prompt_features=np.zeros((num_prompts, 1), np.float32) if prompt is None else prompt,
        agreement=agreement,
        cost_after=cost_after,
    )


class Wild(NamedTuple):
    """A table without any structure that a fit could have been made for."""

    table: FitTable
    answers: np.ndarray  # (num_prompts, num_stages) of answers, "" for none


def wild_table(num_prompts: int, num_stages: int, *, seed: int, verified: bool = True) -> Wild:
    """Noise in every column; some costs of verifying are not known."""
    rng = np.random.default_rng(seed)
    shape = (num_prompts, num_stages)
    statistics = rng.normal(size=(*shape, len(STATE_COLUMNS))).astype(np.float32)
    skill = rng.normal(size=(num_prompts, 1)) + np.arange(num_stages)
    answers = rng.choice(["a", "b", ""], size=shape)
    cost = rng.lognormal(sigma=0.3, size=shape) * 3.0 ** np.arange(num_stages)
    cost_after = cost[:, :, None] * rng.uniform(0.4, 1.1, size=(*shape, num_stages))
    cost_after[rng.random(cost_after.shape) < 0.3] = np.nan
    table = table_of(
        (rng.random(shape) < 1 / (1 + np.exp(-skill))).astype(float),
        cost,
        np.clip(0.5 + 0.15 * skill + 0.2 * rng.normal(size=shape), 0, 1),
        prompt=np.hstack([skill, rng.normal(size=(num_prompts, 2))]).astype(np.float32),
        statistics=statistics,
        answers=answers,
        cost_after=cost_after if verified else None,
    )
    return Wild(table, answers)


def with_parts(table: FitTable, *, seed: int) -> FitTable:
    """Drafts of all lengths whose first tokens tell a little; some costs are not known."""
    rng = np.random.default_rng(seed)
    shape = (*table.quality.shape, WHOLE)
    part_cost = table.cost[:, :, None] * np.sort(rng.uniform(0.1, 0.9, size=shape), axis=2)
    part_cost[np.arange(WHOLE) >= rng.integers(WHOLE + 1, size=shape[:2])[:, :, None]] = np.nan
    after_shape = (*shape[:2], shape[1], WHOLE)
    after = table.cost[:, :, None, None] * rng.uniform(0.4, 1.1, size=after_shape)
    after[rng.random(after_shape) < 0.3] = np.nan
    statistics = rng.normal(size=(*shape, len(PARTIAL_STATISTICS)))
    statistics[..., 0] += 2 * table.quality[:, :, None]
    return replace(
        table,
        part_cost=part_cost,
        part_cost_after=after,
        part_statistics=statistics.astype(np.float32),
    )


def with_savings(policy: InducedPolicy, *, rng: np.random.Generator) -> InducedPolicy:
    """Abandons drafts at half of the checkpoints, by weights that mean nothing."""
    num_lams = len(policy.lam_grid)
    savings = {
        (index, stage, place): rng.normal(size=(len(weights) + len(PARTIAL_STATISTICS), num_lams))
        for index, weights in enumerate(policy.weights)
        for stage in may_abandon(held_of(index, policy.stages), policy.stages)
        for place in range(WHOLE)
        if rng.random() < 0.5
    }
    return replace(policy, savings=savings)


class Path(NamedTuple):
    """What one prompt's run came to; `places` is how far the draft of each stage came."""

    returned: int
    stages: tuple[int, ...]
    places: tuple[int, ...]
    quality: float
    cost: float


def evidence_of(
    table: FitTable, row: int, stages: tuple[int, ...], answers: np.ndarray | None = None
) -> Evidence:
    """What the cascade would know of this prompt with these drafts held."""
    held = tuple(
        HeldDraft(
            s,
            float(table.estimates[row, s]),
            features_of(table, row, s),
            "" if answers is None else str(answers[row, s]),
            0.0 if table.shift is None else float(table.shift[row, s]),
        )
        for s in stages
    )
    return Evidence(table.prompt_features[row], held)


def features_of(table: FitTable, row: int, stage: int) -> np.ndarray:
    """As wide as live ones; what the table does not keep is 0."""
    features = np.zeros(FEATURE_DIM, np.float32)
    features[STATE_COLUMNS] = table.statistics[row, stage]
    return features


def drive(
    policy: InducedPolicy | GuardedPolicy,
    table: FitTable,
    row: int,
    lam: float,
    answers: np.ndarray | None = None,
) -> Path:
    """Ask the policy before each stage, as the cascade does, and look up what then happens."""
    held: tuple[int, ...] = ()
    drafts: list[Drafted] = []
    cost, abandoned = 0.0, -1
    while True:
        evidence = replace(evidence_of(table, row, held, answers), abandoned=abandoned)
        choice = policy.decide(evidence, lam)
        if choice.decision is Decision.STOP:
            quality = float(table.quality[row, choice.stage])
            stages, places = zip(*drafts, strict=True)
            return Path(choice.stage, stages, places, quality, cost)
        draft = Drafted(choice.stage, grow(policy, table, row, choice.stage, evidence, lam))
        cost += paid(table, row, draft, drafts[-1] if drafts else None)
        drafts.append(draft)
        if draft.place == WHOLE:
            held = (*held, draft.stage)
        else:
            abandoned = draft.stage


def grow(
    policy: InducedPolicy | GuardedPolicy,
    table: FitTable,
    row: int,
    stage: int,
    evidence: Evidence,
    lam: float,
) -> int:
    """The first checkpoint at which the policy abandons the draft, or WHOLE."""
    if table.part_cost is None:
        return WHOLE
    for place in np.flatnonzero(~np.isnan(table.part_cost[row, stage])).tolist():
        statistics = table.part_statistics[row, stage, place][None]
        if policy.saved(evidence, Drafted(stage, place), statistics, lam) > 0:
            return place
    return WHOLE


def paid(table: FitTable, row: int, draft: Drafted, offered: Drafted | None) -> float:
    """The part, as a share of what the whole draft costs with what it verifies."""
    plain = whole = table.cost[row, draft.stage]
    if offered is not None and table.cost_after is not None:
        after = table.cost_after[row, draft.stage, offered.stage]
        whole = plain if np.isnan(after) else after
    if offered is not None and offered.place < WHOLE:
        after = table.part_cost_after[row, draft.stage, offered.stage, offered.place]
        whole = whole if np.isnan(after) else after
    part = plain if draft.place == WHOLE else table.part_cost[row, draft.stage, draft.place]
    return float(part * whole / plain)


def fit_induction(
    table: FitTable,
    *,
    rng: np.random.Generator,
    num_folds: int = NUM_FOLDS,
    stages: Sequence[int] | None = None,
    may_abandon: bool = False,
) -> InductionFit:
    """As `induce`, of all stages, with folds drawn by `rng`."""
    folds = make_folds(len(table.quality), num_folds, rng=rng, groups=table.group)
    chosen = range(table.num_stages) if stages is None else stages
    return induce(FoldedTable(table, folds), chosen, may_abandon=may_abandon)


def unguarded(policy: InducedPolicy) -> GuardedPolicy:
    """The policy without a chain at any lambda."""
    return GuardedPolicy(policy, (None,) * len(policy.lam_grid))


def roll_out_induced(policy: InducedPolicy, table: FitTable, lam: float) -> Rollout:
    return roll_out(unguarded(policy), table, lam)


def without_stage(table: FitTable, stage: int) -> FitTable:
    """The table of the ladder before this stage joined."""
    kept = [k for k in range(table.num_stages) if k != stage]
    pairs = np.ix_(range(len(table.quality)), kept, kept)
    return replace(
        table,
        quality=table.quality[:, kept],
        cost=table.cost[:, kept],
        estimates=table.estimates[:, kept],
        statistics=table.statistics[:, kept],
        agreement=table.agreement[pairs],
        cost_after=None if table.cost_after is None else table.cost_after[pairs],
        part_cost=None if table.part_cost is None else table.part_cost[:, kept],
        part_cost_after=None if table.part_cost_after is None else table.part_cost_after[pairs],
        part_statistics=None if table.part_statistics is None else table.part_statistics[:, kept],
    )


def old_policy(table: FitTable, stage: int, *, may_abandon: bool = False) -> GuardedPolicy:
    """Fitted without the stage, on a ladder with room for it."""
    rng = np.random.default_rng(0)
    fit = fit_induction(without_stage(table, stage), rng=rng, may_abandon=may_abandon)
    return make_room(unguarded(fit.policy), stage)
