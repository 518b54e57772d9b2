"""The ladder against always-largest, live on the same prompts, with paired intervals."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from adaptive_sd.cascade import Cascade, Request
from adaptive_sd.data.grading import grade
from adaptive_sd.data.tasks import Task
from adaptive_sd.decision.calibration import Interval
from adaptive_sd.forms import detect_form
from adaptive_sd.offline.benches.methods import Clock
from adaptive_sd.offline.bootstrap import paired_difference, ratio_of_means
from adaptive_sd.trace import Answer
from adaptive_sd.types import Draft, Sampling

BLOCK = 20
"""Prompts that one side answers before the other does: the engine has forgotten the first then."""

_UNRELATED = "Hello"


@dataclass(frozen=True, slots=True)
class Side:
    """Means over the graded prompts; seconds are of one clock, cost is token counts times rates."""

    quality: float
    latency_s: float
    cost: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both sides on the same prompts; intervals are 95 % bootstrap intervals over prompts."""

    num_prompts: int
    num_not_graded: int
    ladder: Side
    largest: Side
    quality_difference: Interval
    latency_ratio: Interval
    cost_ratio: Interval
    share_by_stage: dict[str, float]
    escalation_rate: float


def run_largest(cascade: Cascade, prompt: str, request: Request) -> Draft:
    """The largest stage alone, asked as it is asked in the ladder."""
    stage, form = cascade.stages[-1], detect_form(prompt)
    sampling = request.sampling(stage, len(cascade.stages) - 1, prompt, form)
    return stage.run(prompt, sampling, form=form)


def compare(
    cascade: Cascade,
    tasks: Sequence[Task],
    *,
    rng: np.random.Generator,
    request: Request | None = None,
    clock: Clock = time.perf_counter,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Comparison:
    """Answer all tasks with the ladder and with the largest stage, and grade both.

    Block by block, and which side comes first is drawn for each: a machine's drift hits both alike,
    and no prompt that one side has read is in the other's KV cache.
    """
    request = request or Request()
    answers: list[Answer] = []
    drafts: list[Draft] = []
    sides = (
        lambda prompt: answers.append(cascade.answer(prompt, request)),
        lambda prompt: drafts.append(run_largest(cascade, prompt, request)),
    )
    seconds: tuple[list[float], list[float]] = ([], [])
    for start in range(0, len(tasks), BLOCK):
        for side in rng.permutation(2):
            cascade.stages[-1].run(_UNRELATED, Sampling(max_tokens=1))  # takes the prompt's place
            for task in tasks[start : start + BLOCK]:
                on_progress(len(answers) + len(drafts), 2 * len(tasks))
                start_s = clock()
                sides[side](task.prompt)
                seconds[side].append(clock() - start_s)
    return _summarise(cascade, tasks, answers, drafts, seconds, rng)


def _summarise(
    cascade: Cascade,
    tasks: Sequence[Task],
    answers: Sequence[Answer],
    drafts: Sequence[Draft],
    seconds: tuple[list[float], list[float]],
    rng: np.random.Generator,
) -> Comparison:
    last = len(cascade.stages) - 1
    rows, kept = [], []
    for task, answer, draft, *wall_s in zip(tasks, answers, drafts, *seconds, strict=True):
        ours, theirs = grade(task, answer.text or ""), grade(task, draft.text)
        if ours.quality is None or theirs.quality is None:
            continue
        cost = cascade.judge.cost(last, draft)
        kept.append(answer)
        rows.append((ours.quality, wall_s[0], answer.cost, theirs.quality, wall_s[1], cost))
    values = np.array(rows, dtype=np.float64).reshape(len(rows), 6)
    means = values.mean(axis=0) if rows else np.full(6, np.nan)
    return Comparison(
        num_prompts=len(rows),
        num_not_graded=len(tasks) - len(rows),
        ladder=Side(*means[:3].tolist()),
        largest=Side(*means[3:].tolist()),
        quality_difference=paired_difference(values[:, 0], values[:, 3], rng=rng),
        latency_ratio=ratio_of_means(values[:, 1], values[:, 4], rng=rng),
        cost_ratio=ratio_of_means(values[:, 2], values[:, 5], rng=rng),
        share_by_stage={
            stage.name: float(np.mean([a.stage_index == k for a in kept]))
            for k, stage in enumerate(cascade.stages)
        },
        escalation_rate=float(np.mean([_num_ran(a) > 1 for a in kept])),
    )


def _num_ran(answer: Answer) -> int:
    return sum(step.tokens_out > 0 or step.tokens_in > 0 for step in answer.trace)
