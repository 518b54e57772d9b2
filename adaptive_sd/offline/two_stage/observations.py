"""What a two-stage run shows, in sentences computed from its data."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.offline.two_stage.rule import FloatArray, Outcomes, TwoStageRule

_BUSY = 1.5


def observe(rule: TwoStageRule, lam: float) -> list[str]:
    """Sentences for the research log, the most important first."""
    cascade = rule.at(lam)
    return [
        _at_lambda(rule, cascade, lam),
        *_had_all_escalated(rule, cascade),
        _sweep(rule),
        _models(rule),
        _verification(rule),
        _estimates(rule),
        *_busy(rule),
    ]


def next_lambda(rule: TwoStageRule) -> tuple[float, str]:
    """The sweep's lambda to go on with, and why: the cheapest of the best mean quality."""
    sweep = rule.sweep()
    if not any(outcomes.escalated.any() for _, outcomes in sweep):
        return sweep[-1][0], "the sweep never escalated, so the largest of its lambdas"
    going = [(lam, outcomes) for lam, outcomes in sweep if outcomes.escalated.any()]
    lam, best = max(going, key=lambda pair: (pair[1].quality.mean(), -pair[1].cost.mean()))
    return lam, (
        f"of the sweep's lambdas that escalate, the one of the best mean quality "
        f"({best.quality.mean():.3f} at cost {best.cost.mean():.2f})"
    )


def _at_lambda(rule: TwoStageRule, cascade: Outcomes, lam: float) -> str:
    cost = rule.relative_cost
    if cascade.escalated.any():
        return f"At lambda {lam:g} {_changes(rule, cascade.escalated)}."
    if lam <= cost:
        return (
            f"Lambda {lam:g} cannot escalate: one more right answer is worth at most {lam:g}, and "
            f"{rule.measured.models[1].name} costs {cost:.2f} (model 1's mean cost is 1)."
        )
    gain = float((rule.chances - rule.estimates).max())
    return (
        f"Lambda {lam:g} escalated nothing: the largest gain in estimated quality, {gain:.2f}, is "
        f"worth {lam * gain:.2f}, and {rule.measured.models[1].name} costs {cost:.2f}."
    )


def _had_all_escalated(rule: TwoStageRule, cascade: Outcomes) -> list[str]:
    if cascade.escalated.all():
        return []
    every = np.ones_like(cascade.escalated)
    return [f"Had all samples been escalated: {_changes(rule, every)}."]


def _changes(rule: TwoStageRule, chosen: NDArray[np.bool_]) -> str:
    """How the graded quality of the chosen samples changes from model 1 to model 2."""
    before = np.array([a.quality for a in rule.model1])[chosen]
    after = np.array([a.quality for a in rule.verified])[chosen]
    num = len(before)
    better, worse = int((after > before).sum()), int((after < before).sum())
    exact = set(np.concatenate([before, after]).tolist()) <= {0.0, 1.0}
    up, down = (
        ("wrong to right", "right to wrong") if exact else ("worse to better", "better to worse")
    )
    return (
        f"{better} of {num} escalations ({better / num:.0%}) changed an answer from {up}, "
        f"{worse} ({worse / num:.0%}) from {down}"
    )


def _sweep(rule: TwoStageRule) -> str:
    sweep = rule.sweep()
    last, at_last = sweep[-1]
    going = [(lam, outcomes) for lam, outcomes in sweep if outcomes.escalated.any()]
    if not going:
        return f"The sweep never escalates, up to lambda {last:g}."
    lam, first = going[0]
    return (
        f"The sweep starts to escalate at lambda {lam:g} ({first.escalation_rate:.0%} of samples) "
        f"and escalates {at_last.escalation_rate:.0%} at {last:g}."
    )


def _models(rule: TwoStageRule) -> str:
    first, second = rule.always_first(), rule.always_second()
    gain = second.quality - first.quality
    verdict = "" if gain.mean() > 0 else "; here model 2 is not the better one"
    return (
        f"Alone, model 2's mean quality is {gain.mean():+.3f} against model 1's {_error(gain)}, at "
        f"{second.cost.mean():.2f} times its cost{verdict}."
    )


def _error(values: FloatArray) -> str:
    """The standard error, which one sample does not have."""
    num = len(values)
    if num < 2:
        return "(one sample: no standard error)"
    return f"(standard error {values.std(ddof=1) / math.sqrt(num):.3f}, {num} samples)"


def _verification(rule: TwoStageRule) -> str:
    drafts = [attempt.draft for attempt in rule.verified]
    alone = rule.always_second()
    drafted, accepted = (
        sum(values)
        for values in zip(
            *((d.verified.num_drafted, d.verified.num_accepted) for d in drafts), strict=True
        )
    )
    same = sum(a.draft.text == d.text for a, d in zip(rule.model2, drafts, strict=True))
    share = (
        f"{accepted} of {drafted} draft tokens accepted" if drafted else "no draft token verified"
    )
    return (
        f"Verifying model 1's drafts, model 2 costs {rule.relative_cost:.2f} instead of "
        f"{alone.cost.mean():.2f} ({share}); {same} of {len(drafts)} answers are the same."
    )


def _estimates(rule: TwoStageRule) -> str:
    right = np.array([a.quality for a in rule.model1]) >= 0.5
    parts = [
        f"{rule.estimates[group].mean():.2f} on {int(group.sum())} {name}"
        for group, name in ((right, "right"), (~right, "wrong"))
        if group.any()
    ]
    return f"Mean estimated quality of model 1's drafts: {' and '.join(parts)} ones."


def _busy(rule: TwoStageRule) -> list[str]:
    """Costs come from rates and stand all the same; latencies are of the machine as it was."""
    attempts = [*rule.model1, *rule.model2, *rule.verified]
    ratio = sum(a.draft.latency_s for a in attempts) / sum(a.cost_s for a in attempts)
    if ratio < _BUSY:
        return []
    return [
        f"Latencies are {ratio:.1f} times what the stages' rates give: something else ran on this "
        "machine, or the rates are of another state of it. Compare costs, not latencies."
    ]
