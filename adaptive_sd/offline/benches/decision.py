"""Times the decision core; medians and tails of many calls, never asserted in a test."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from adaptive_sd.artifact import Artifact
from adaptive_sd.decision.features import DraftView, HiddenProjection, PromptView, extract_features
from adaptive_sd.decision.network import FittedPredictor
from adaptive_sd.decision.policies import Choice, Evidence, HeldDraft
from adaptive_sd.decision.stopping import optimal_stopping_rule
from adaptive_sd.forms import Form
from adaptive_sd.judge import FittedJudge
from adaptive_sd.types import Draft

_NUM_TOKENS = 128
_STOPPING_SIZES = (10, 1_000, 10_000, 100_000, 1_000_000)


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one call."""

    median_s: float
    p99_s: float


@dataclass(frozen=True, slots=True)
class DecisionBench:
    """Timings of reading a draft's "text", of "features", "predictor" and "rule" alone, and of all
    of it: the "decision".
    """

    num_calls: int
    parts: dict[str, Timing]


@dataclass(frozen=True, slots=True)
class StoppingBench:
    """Best of three seconds for a ladder of `num_stages`."""

    num_stages: int
    seconds: float


def _timing(run: Callable[[], object], num_calls: int) -> Timing:
    times = np.empty(num_calls)
    for i in range(num_calls):
        start_s = time.perf_counter()
        run()
        times[i] = time.perf_counter() - start_s
    return Timing(float(np.median(times)), float(np.quantile(times, 0.99)))


def bench_decision(artifact: Artifact, num_calls: int) -> DecisionBench:
    """Time one decision after a draft of 128 tokens of the stage that the policy begins with."""
    judge = FittedJudge(artifact)
    prompt = prompt_of(artifact.forms[0] if artifact.forms else Form.NUMBER)
    return time_decision(
        prompt,
        judge.begin(prompt),
        artifact.predictors,
        artifact.projections,
        judge=lambda stage, draft: judge.judge(prompt, stage, draft),
        decide=lambda evidence: judge.decide(evidence, artifact.recommended_lam),
        num_calls=num_calls,
    )


def prompt_of(form: Form) -> PromptView:
    """The prompt that a timed decision is about."""
    return PromptView(form, num_characters=200, num_lines=1, num_digits=6)


def time_decision(
    prompt: PromptView,
    start: Evidence,
    predictors: Sequence[FittedPredictor],
    projections: Sequence[HiddenProjection | None],
    *,
    judge: Callable[[int, Draft], HeldDraft],
    decide: Callable[[Evidence], Choice],
    num_calls: int,
) -> DecisionBench:
    """As `bench_decision`, by parts; `start` is the evidence before the first draft.

    `predictors` and `projections` are the ladder's, by stage.
    """
    # A guard's chain may leave out the stages that it does not need: only the policy can tell.
    first = decide(start).stage
    predictor, projection = predictors[first], projections[first]
    draft = _draft(projection)
    view = DraftView.of(draft, prompt)
    features = extract_features(view, prompt, projection)
    judged = replace(start, held=(judge(first, draft),))

    parts = {
        "text": _timing(lambda: DraftView.of(draft, prompt), num_calls),
        "features": _timing(lambda: extract_features(view, prompt, projection), num_calls),
        "predictor": _timing(lambda: predictor.predict(features), num_calls),
        "rule": _timing(lambda: decide(judged), num_calls),
        "decision": _timing(lambda: decide(replace(start, held=(judge(first, draft),))), num_calls),
    }
    return DecisionBench(num_calls, parts)


def _draft(projection: HiddenProjection | None) -> Draft:
    width = 0 if projection is None else len(projection.mean)
    rng = np.random.default_rng(0)
    words = " ".join(f"step {i}: {i} + {i} = {2 * i}." for i in range(12))
    return Draft(
        text=f"{words} The answer is 42.",
        token_ids=tuple(rng.integers(0, 50_000, _NUM_TOKENS).tolist()),
        token_logprobs=tuple((-rng.exponential(0.3, _NUM_TOKENS)).tolist()),
        token_entropies=tuple(rng.exponential(0.5, _NUM_TOKENS).tolist()),
        token_margins=tuple(rng.exponential(3.0, _NUM_TOKENS).tolist()),
        finish_reason="stop",
        tokens_in=150,
        prefill_s=0.1,
        decode_s=1.0,
        hidden=rng.normal(size=width).astype(np.float16) if width else None,
    )


def bench_stopping() -> list[StoppingBench]:
    rng = np.random.default_rng(0)
    rows = []
    for size in _STOPPING_SIZES:
        p, cost = rng.random(size), rng.random(size)
        times = []
        for _ in range(3):
            start_s = time.perf_counter()
            optimal_stopping_rule(p, cost, 10.0)
            times.append(time.perf_counter() - start_s)
        rows.append(StoppingBench(size, min(times)))
    return rows
