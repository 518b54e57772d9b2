"""The results of a two-stage run as a JSON document and as an entry in the research log."""

from __future__ import annotations

import platform
import shlex
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from adaptive_sd import __version__
from adaptive_sd.offline.experiment import Choice
from adaptive_sd.offline.research_log import LogEntry
from adaptive_sd.offline.two_stage.measure import Attempt, MeasuredModel
from adaptive_sd.offline.two_stage.observations import next_lambda, observe
from adaptive_sd.offline.two_stage.rule import FloatArray, Outcomes, TwoStageRule


@dataclass(frozen=True, slots=True)
class Settings:
    """What was asked for."""

    model1: str
    model2: str
    dataset: str
    num_samples: int
    lam: float
    seed: int

    def command(self) -> str:
        options = {
            "--model1": self.model1,
            "--model2": self.model2,
            "--dataset": self.dataset,
            "--num-samples": str(self.num_samples),
            "--lambda": f"{self.lam:g}",
            "--seed": str(self.seed),
        }
        words = [word for pair in options.items() for word in pair]
        return shlex.join(["python", "experiments/poc_2stage.py", *words])


def to_json(settings: Settings, choice: Choice, rule: TwoStageRule) -> dict[str, object]:
    """Arrays have one entry for each sample; latencies in ms, costs in model 1's mean cost."""
    cascade, sweep = rule.at(settings.lam), rule.sweep()
    measured = rule.measured
    names = [model.name for model in measured.models]
    chosen = [
        second if escalated else first
        for first, second, escalated in zip(
            rule.model1, rule.verified, cascade.escalated, strict=True
        )
    ]
    return {
        **_arrays(cascade, chosen),
        "stages": [names[int(escalated)] for escalated in cascade.escalated],
        "estimated_qualities": rule.estimates.tolist(),  # of model 1's draft
        "chances_model2": rule.chances.tolist(),  # given that draft, before model 2 runs
        "prompt_ids": [sample.task.id for sample in measured.samples],
        "early_stop_rate": cascade.early_stop_rate,
        "escalation_rate": cascade.escalation_rate,
        "always_a": {"model": names[0], **_arrays(rule.always_first(), rule.model1)},
        "always_b": {"model": names[1], **_arrays(rule.always_second(), rule.model2)},
        "relative_costs": list(rule.policy.costs),
        "cost_unit_s": rule.unit_s,
        "sweep": [{"lambda": lam, **_summary(outcomes)} for lam, outcomes in sweep],
        "observations": observe(rule, settings.lam),
        "notes": list(choice.notes),
        "left_out": [left._asdict() for left in measured.left_out],
        "settings": _settings(settings, rule),
    }


def _arrays(outcomes: Outcomes, attempts: list[Attempt]) -> dict[str, object]:
    return {
        "latencies": (1e3 * outcomes.latency_s).tolist(),
        "qualities": outcomes.quality.tolist(),
        "costs": outcomes.cost.tolist(),
        "answers": [attempt.draft.text for attempt in attempts],
        **_means(outcomes),
    }


def _means(outcomes: Outcomes) -> dict[str, float]:
    return {
        "mean_quality": float(outcomes.quality.mean()),
        "mean_cost": float(outcomes.cost.mean()),
        "mean_latency_ms": float(1e3 * outcomes.latency_s.mean()),
    }


def _summary(outcomes: Outcomes) -> dict[str, float]:
    return {**_means(outcomes), "early_stop_rate": outcomes.early_stop_rate}


def _settings(settings: Settings, rule: TwoStageRule) -> dict[str, object]:
    return {
        "models": [_model(model) for model in rule.measured.models],
        "lambda": settings.lam,
        "dataset": settings.dataset,
        "num_samples": len(rule.measured.samples),
        "num_samples_asked": settings.num_samples,
        "seed": settings.seed,
        "command": settings.command(),
        "versions": {
            "adaptive_sd": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
        },
        "machine": platform.platform(),
    }


def _model(model: MeasuredModel) -> dict[str, object]:
    return {
        "name": model.name,
        "sha256": model.info.model_hash,
        "num_parameters": model.info.num_parameters,
        "engine": f"{model.info.engine} {model.info.engine_version}",
        "styles": model.styles,
    }


def to_log_entry(
    settings: Settings, choice: Choice, rule: TwoStageRule, *, when: datetime
) -> LogEntry:
    cascade = rule.at(settings.lam)
    model1, model2 = (model.name for model in rule.measured.models)
    all_three = {
        "cascade": cascade,
        f"always {model1}": rule.always_first(),
        f"always {model2}": rule.always_second(),
    }
    num_left_out = len(rule.measured.left_out)
    left_out = f" ({num_left_out} left out: not answered or graded)" if num_left_out else ""
    return LogEntry(
        when=when,
        settings={
            "Models": f"{model1} -> {model2}",
            "Lambda": f"{settings.lam:g}, in units of {model1}'s mean cost",
            "Data set": settings.dataset,
            "Samples": f"{len(rule.measured.samples)}{left_out}, seed {settings.seed}",
            "Run": f"{when:%H:%M}, adaptive-sd {__version__}, `{settings.command()}`",
        },
        results={
            "Mean latency": _three(
                {n: 1e3 * o.latency_s for n, o in all_three.items()}, ".0f", " ms"
            ),
            "Mean quality": _three({n: o.quality for n, o in all_three.items()}, ".3f"),
            "Mean cost": _three({n: o.cost for n, o in all_three.items()}, ".2f"),
            "Early-stop rate": f"{cascade.early_stop_rate:.0%}",
        },
        observations=[*choice.notes, *observe(rule, settings.lam)],
        next_experiments=[_next_experiment(settings, choice, rule)],
    )


def _three(outcomes: dict[str, FloatArray], number: str, unit: str = "") -> str:
    return "; ".join(f"{name} {values.mean():{number}}{unit}" for name, values in outcomes.items())


def _next_experiment(settings: Settings, choice: Choice, rule: TwoStageRule) -> str:
    """On other prompts where there are any, since these chose the lambda."""
    lam, reason = next_lambda(rule)
    num_samples = min(4 * settings.num_samples, choice.num_available)
    follow_up = replace(settings, lam=lam, num_samples=num_samples, seed=settings.seed + 1)
    prompts = (
        "more and other prompts, since these chose the lambda"
        if num_samples > len(choice.tasks)
        else "this data set has no other prompts, so confirm it on another one too"
    )
    return f"`{follow_up.command()}`: {reason}; {prompts}."
