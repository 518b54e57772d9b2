"""Everything that the page shows, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from adaptive_sd.artifact import Artifact
from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.features import prompt_features
from adaptive_sd.decision.network import FittedPredictor
from adaptive_sd.decision.policies import Evidence
from adaptive_sd.forms import Form
from adaptive_sd.judge import judge_by_fit
from adaptive_sd.offline.benches.decision import DecisionBench, prompt_of, time_decision
from adaptive_sd.offline.evidence import read_evidence
from adaptive_sd.offline.importance import MAX_ROWS, permutation_importance
from adaptive_sd.offline.replay.contest import POLICIES
from adaptive_sd.offline.replay.field import Field, Subject
from adaptive_sd.offline.replay.report import ReplayReport
from adaptive_sd.offline.replay.seen import see_with
from adaptive_sd.offline.report.examples import Example, choose_examples
from adaptive_sd.offline.report.flow import Flow, make_flow
from adaptive_sd.offline.report.frontier import Frontier, make_frontier
from adaptive_sd.offline.report.latency import Latency, measure_latency
from adaptive_sd.offline.report.reliability import Reliability, make_reliability
from adaptive_sd.offline.signals import signal_columns
from adaptive_sd.stage_record import StageRecord


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """`flow` and `examples` are of the fitted policy at `lam`; `decision` alone is a timing.

    `importance` is by stage: what its predictor's AUC loses without a piece of evidence.
    """

    replay: ReplayReport
    stages: tuple[StageRecord, ...]
    frontier: Frontier
    reliability: tuple[Reliability, ...]
    flow: Flow
    importance: tuple[Mapping[str, float], ...]
    latency: Latency | None
    examples: tuple[Example, ...]
    lam: float
    lam_origin: str
    decision: DecisionBench


def make_report(
    table: OutcomeTable,
    *,
    artifact: Artifact | None = None,
    lam: float | None = None,
    num_resamples: int = 1000,
    num_calls: int = 1000,
    seed: int = 0,
) -> Report:
    """Deterministic for a seed, apart from `decision`: `num_calls` decisions are timed.

    All policies, as `replay` measures them; `lam` is the recommended one unless given. Raises
    DataError for a table that cannot be replayed, or not with the artifact; ConfigError for a
    lambda outside the fit's grid.
    """
    # Many small products: on a busy machine threads wait for each other far longer than they work.
    with threadpool_limits(limits=1):
        seen = None if artifact is None else see_with(artifact, table)
        field = Field(table, seen, seed=seed)
        return report_on(field, lam=lam, num_resamples=num_resamples, num_calls=num_calls)


def report_on(field: Field, *, lam: float | None, num_resamples: int, num_calls: int) -> Report:
    """As `make_report`, of halves that are fitted."""
    subject, origin = field.subject, field.subject.origin_of(lam)
    lam = subject.recommended_lam if lam is None else lam
    flow = make_flow(subject, lam)
    replay = field.report(POLICIES, num_resamples)
    return Report(
        replay=replay,
        stages=subject.outcomes.stages,
        frontier=make_frontier(field, POLICIES, num_resamples),
        reliability=make_reliability(subject, replay.predictors),
        flow=flow,
        importance=_importance(subject, rng=field.contest.rng(8)),
        latency=measure_latency(subject.outcomes),
        examples=choose_examples(subject, flow.paths, lam, rng=field.contest.rng(9)),
        lam=lam,
        lam_origin=origin,
        decision=_time_decision(subject, lam, num_calls),
    )


def _importance(subject: Subject, *, rng: np.random.Generator) -> tuple[Mapping[str, float], ...]:
    """On some of the subject's prompts, which its predictors were not fitted on."""
    rows = np.sort(rng.permutation(len(subject.outcomes.prompt_ids))[:MAX_ROWS])
    outcomes = subject.outcomes.take(rows)
    evidence = read_evidence(outcomes, subject.projections)
    signals = signal_columns(outcomes)

    def of_stage(stage: int, predictor: FittedPredictor) -> dict[str, float]:
        return permutation_importance(
            lambda _, features: predictor.predict_many(features),
            evidence.features[:, stage],
            outcomes.quality[:, stage],
            signals,
            rng=rng,
        )

    return tuple(of_stage(k, predictor) for k, predictor in enumerate(subject.predictors))


def _time_decision(subject: Subject, lam: float, num_calls: int) -> DecisionBench:
    prompt = prompt_of(Form.NUMBER)
    predictors, projections = subject.predictors, subject.projections
    return time_decision(
        prompt,
        Evidence(prompt_features(prompt)),
        predictors,
        projections,
        judge=lambda stage, draft: judge_by_fit(
            predictors[stage], projections[stage], prompt, stage, draft
        ),
        decide=lambda evidence: subject.policy.decide(evidence, lam),
        num_calls=num_calls,
    )
