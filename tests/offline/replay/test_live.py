"""A table played back through the live cascade takes the paths that the rollout takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from adaptive_sd.artifact import Artifact
from adaptive_sd.cascade import Cascade, Request
from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.partial import (
    CHECKPOINTS,
    PARTIAL_STATISTICS,
    WHOLE,
    Drafted,
    checkpoints_before,
    partial_statistics,
)
from adaptive_sd.decision.paths import follow
from adaptive_sd.decision.policy_fit import fit_policy
from adaptive_sd.decision.rollout import roll_out_all
from adaptive_sd.decision.selection import CANDIDATES, fit_predictor
from adaptive_sd.forms import Form
from adaptive_sd.judge import FittedJudge
from adaptive_sd.offline.evidence import fit_projections, read_evidence, to_fit_table
from adaptive_sd.offline.replay.seen import seen_by
from adaptive_sd.prompt import Prompt
from adaptive_sd.stage_record import StageRecord
from adaptive_sd.trace import Step
from adaptive_sd.types import Action, Draft, Observer, Progress, Sampling
from tests.ladder import RATES, make_tasks

NAMES = list(RATES)
WIDTH = 8


def seeded_table(num_prompts: int, seed: int) -> OutcomeTable:
    """Log-probabilities and hidden states tell how good a draft is; wrong answers often agree."""
    rng = np.random.default_rng(seed)
    tasks = make_tasks(num_prompts, seed=seed)
    shape = (num_prompts, len(NAMES))
    difficulty = rng.normal(size=(num_prompts, 1))
    skill = np.array([0.0, 0.6, 1.6])
    quality = (rng.normal(size=shape) + skill > difficulty).astype(float)
    columns = {name: np.empty(shape, object) for name in ("prompt", "answer", "logprobs", "hidden")}
    tokens_in = rng.integers(20, 200, size=shape)
    cost = np.empty(shape)
    part_cost = np.full((WHOLE, *shape), np.nan)
    statistics = np.full((len(PARTIAL_STATISTICS), WHOLE, *shape), np.nan)
    for n, task in enumerate(tasks):
        for k, name in enumerate(NAMES):
            count = int(rng.choice([rng.integers(1, 30), rng.integers(30, 150)]))
            spread = 0.2 if quality[n, k] else 0.7
            hidden = rng.normal(size=WIDTH) + difficulty[n] * np.arange(WIDTH)
            columns["prompt"][n, k] = task.prompt
            answer = int(task.answer) + (0 if quality[n, k] else rng.integers(1, 3))
            columns["answer"][n, k] = f"The answer is {answer}." if rng.random() < 0.95 else ""
            columns["logprobs"][n, k] = -rng.exponential(spread, size=count)
            columns["hidden"][n, k] = hidden.astype(np.float16)
            cost[n, k] = RATES[name].draft_s(int(tokens_in[n, k]), count + 1)
            for place, at in enumerate(checkpoints_before(count + 1)):
                part_cost[place, n, k] = RATES[name].draft_s(int(tokens_in[n, k]), at)
                first = columns["logprobs"][n, k][None, :at]
                statistics[:, place, n, k] = partial_statistics(first)[0]
    tokens_out = np.vectorize(len)(columns["logprobs"])
    for place, at in enumerate(CHECKPOINTS):
        columns[f"cost@{at}"] = part_cost[place]
        for name, values in zip(PARTIAL_STATISTICS, statistics[:, place], strict=True):
            columns[f"signal_{name}@{at}"] = values
    return OutcomeTable(
        stages=tuple(StageRecord(name, model=name, rates=RATES[name]) for name in NAMES),
        prompt_ids=tuple(task.id for task in tasks),
        quality=quality,
        cost=cost,
        columns=columns | {"tokens_in": tokens_in, "tokens_out": tokens_out},
        num_left_out=0,
    )


@dataclass
class PlayedBack:
    """A stage that answers as the table says it did."""

    name: str
    drafts: dict[str, Draft]

    @classmethod
    def of(cls, table: OutcomeTable, stage: int) -> PlayedBack:
        return cls(
            table.stages[stage].name,
            {table.columns["prompt"][n, stage]: draft_of(table, n, stage) for n in rows_of(table)},
        )

    def run(self, prompt: Prompt, sampling: Sampling, *, observer: Observer, **rest: Any) -> Draft:
        assert isinstance(prompt, str)
        draft = self.drafts[prompt]
        for num_tokens in range(1, draft.tokens_out + 1):
            logprobs = draft.token_logprobs[:num_tokens]
            if not observer(Progress("", num_tokens, logprobs)):
                return replace(
                    draft,
                    text="cut off",
                    token_ids=draft.token_ids[:num_tokens],
                    token_logprobs=logprobs,
                    finish_reason="cancelled",
                )
        return draft

    def token_limit(self, prompt: Prompt, form: Form) -> int:
        return 64

    def warm_up(self) -> None: ...

    def close(self) -> None: ...


def rows_of(table: OutcomeTable) -> range:
    return range(len(table.prompt_ids))


def draft_of(table: OutcomeTable, n: int, stage: int) -> Draft:
    logprobs = tuple(table.columns["logprobs"][n, stage].tolist())
    return Draft(
        text=table.columns["answer"][n, stage],
        token_ids=tuple(range(len(logprobs))),
        token_logprobs=logprobs,
        token_entropies=(),
        token_margins=(),
        finish_reason="stop",
        tokens_in=int(table.columns["tokens_in"][n, stage]),
        prefill_s=0.0,
        decode_s=0.0,
        hidden=table.columns["hidden"][n, stage],
    )


def fitted_on(table: OutcomeTable, artifact: Artifact) -> Artifact:
    """The artifact with predictors, projections and policy of the table."""
    rng = np.random.default_rng(0)
    projections = fit_projections(table)
    evidence = read_evidence(table, projections)
    fits = [
        fit_predictor(
            evidence.features[:, k], table.quality[:, k], rng=rng, candidates=CANDIDATES[3:4]
        )
        for k in range(len(NAMES))
    ]
    estimates = np.stack([fit.estimates for fit in fits], axis=1)
    return replace(
        artifact,
        predictors=tuple(fit.predictor for fit in fits),
        projections=projections,
        policy=fit_policy(to_fit_table(table, evidence, estimates), rng=rng).policy,
    )


def drafted_in(step: Step) -> Drafted:
    place = CHECKPOINTS.index(step.tokens_out) if step.action is Action.ABANDON else WHOLE
    return Drafted(NAMES.index(step.stage), place)


def test_traces_are_those_of_the_rollout_on_every_prompt(artifact: Artifact) -> None:
    fitted = fitted_on(seeded_table(300, seed=21), artifact)
    table = seeded_table(80, seed=22)
    seen = seen_by(fitted, table)
    stages = [PlayedBack.of(table, k) for k in range(len(NAMES))]
    cascade = Cascade(stages, FittedJudge(fitted))
    grid = fitted.policy.lam_grid
    lams = [0.0, *grid[4:20:3].tolist(), *np.sqrt(grid[5:18:4] * grid[6:19:4]).tolist()]
    rolled = roll_out_all(fitted.policy, seen, lams)
    paths = set()
    for place, lam in enumerate(lams):
        followed = follow(fitted.policy, seen, lam)
        for n in rows_of(table):
            answer = cascade.answer(table.columns["prompt"][n, 0], Request(lam=lam))
            ran = tuple(drafted_in(step) for step in answer.trace if step.tokens_in)
            assert (ran, answer.stage_index) == followed[n]
            assert answer.stage_index == rolled.stage[n, place]
            assert len(ran) == rolled.num_run[n, place]
            assert answer.cost == pytest.approx(rolled.cost[n, place], rel=1e-9)
            assert table.quality[n, answer.stage_index] == rolled.quality[n, place]
            paths.add((ran, answer.stage_index))
    assert len(paths) >= 6 and any(returned != ran[-1].stage for ran, returned in paths)
    assert any(draft.place < WHOLE for ran, _ in paths for draft in ran)
