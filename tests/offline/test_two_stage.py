"""Two stages measured in phases, and the laws of the rule on what was measured."""

from __future__ import annotations

import itertools
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive_sd.artifact import Prior
from adaptive_sd.data.tasks import Task
from adaptive_sd.errors import ContextOverflowError, DataError
from adaptive_sd.offline.two_stage.measure import Measured, measure
from adaptive_sd.offline.two_stage.observations import next_lambda, observe
from adaptive_sd.offline.two_stage.rule import SWEEP, TwoStageRule
from adaptive_sd.types import Rates
from tests.ladder import make_tasks
from tests.pair import Pair, answer_of, make_prior

NUM_SAMPLES = 30


def run(pair: Pair, tasks: list[Task]) -> Measured:
    return measure(pair.open(), tasks, seed=0, on_progress=lambda phase, done, total: None)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    return run(Pair(tmp_path_factory.mktemp("pair")), make_tasks(NUM_SAMPLES))


@pytest.fixture(scope="module")
def rule(measured: Measured) -> TwoStageRule:
    return TwoStageRule(measured, make_prior(intercept=1.0, slope=0.5))


priors = st.builds(
    make_prior,
    intercept=st.floats(-3, 3),
    slope=st.floats(-1, 2),
    size_slope=st.floats(0, 1),
)


def test_each_phase_is_a_freshly_loaded_model_warmed_up_once(tmp_path: Path) -> None:
    pair, tasks = Pair(tmp_path), make_tasks(4)
    run(pair, tasks)
    assert [engine.info.model for engine in pair.engines] == ["small", "large", "large"]
    assert all(engine.closed for engine in pair.engines)
    for engine in pair.engines:
        (_, warm_up, _), *calls = engine.calls
        assert warm_up.max_tokens == 1
        assert [tasks[i].prompt in c[0][-1].content for i, c in enumerate(calls)] == [True] * 4
    drafts = [[c[2] and c[2].text for c in engine.calls[1:]] for engine in pair.engines]
    small = [answer_of("small", task.prompt) for task in tasks]
    assert drafts == [[None] * 4, [None] * 4, small]


def test_lambda_zero_never_escalates(rule: TwoStageRule) -> None:
    assert not rule.at(0.0).escalated.any()
    assert rule.at(0.0).early_stop_rate == 1


@settings(max_examples=40, deadline=None)
@given(prior=priors)
def test_a_very_large_lambda_escalates_exactly_where_model_2_is_likelier_right(
    measured: Measured, prior: Prior
) -> None:
    rule = TwoStageRule(measured, prior)
    outcomes, gain = rule.at(1e9), rule.chances - rule.estimates
    clear = np.abs(gain) > 1e-6
    np.testing.assert_array_equal(outcomes.escalated[clear], gain[clear] > 0)
    small, large = ([a.quality for a in each] for each in (rule.model1, rule.verified))
    np.testing.assert_array_equal(outcomes.quality, np.where(outcomes.escalated, large, small))


@settings(max_examples=40, deadline=None)
@given(prior=priors)
def test_a_larger_lambda_keeps_every_escalation_and_costs_no_less(
    measured: Measured, prior: Prior
) -> None:
    sweep = TwoStageRule(measured, prior).sweep()
    assert [lam for lam, _ in sweep] == sorted(SWEEP) and (SWEEP[0], SWEEP[-1]) == (0, 100)
    for (_, lower), (_, higher) in itertools.pairwise(sweep):
        assert not (lower.escalated & ~higher.escalated).any()
        assert lower.cost.mean() <= higher.cost.mean()


@given(lam=st.floats(0, 1000))
def test_stops_and_escalations_share_the_samples(rule: TwoStageRule, lam: float) -> None:
    outcomes = rule.at(lam)
    assert outcomes.early_stop_rate + outcomes.escalation_rate == pytest.approx(1)
    assert all(len(array) == NUM_SAMPLES for array in asdict(outcomes).values())


def test_costs_are_in_model_1s_mean(rule: TwoStageRule) -> None:
    assert rule.always_first().cost.mean() == pytest.approx(1)
    paid = rule.at(1e9)
    extra = (paid.cost - rule.always_first().cost)[paid.escalated]
    verified = np.array([a.cost_s for a in rule.verified])[paid.escalated] / rule.unit_s
    np.testing.assert_allclose(extra, verified)
    assert rule.relative_cost == pytest.approx(
        np.mean([a.cost_s for a in rule.verified]) / rule.unit_s
    )


def test_an_escalated_sample_takes_the_time_of_both_models(rule: TwoStageRule) -> None:
    outcomes = rule.at(25.0)
    assert outcomes.escalated.any() and not outcomes.escalated.all()
    expected = [
        a.draft.latency_s + (b.draft.latency_s if escalated else 0.0)
        for a, b, escalated in zip(rule.model1, rule.verified, outcomes.escalated, strict=True)
    ]
    np.testing.assert_allclose(outcomes.latency_s, expected)


@given(scale=st.floats(0.01, 100))
def test_the_unit_of_time_does_not_matter(rule: TwoStageRule, scale: float) -> None:
    scaled = replace(
        rule.measured,
        samples=tuple(
            s._replace(
                model1=s.model1._replace(cost_s=scale * s.model1.cost_s),
                verified=s.verified._replace(cost_s=scale * s.verified.cost_s),
            )
            for s in rule.measured.samples
        ),
    )
    other = TwoStageRule(scaled, make_prior(intercept=1.0, slope=0.5))
    assert other.relative_cost == pytest.approx(rule.relative_cost)


@given(lam=st.floats(0, 200))
def test_it_says_that_lambda_cannot_escalate_exactly_when_no_estimate_could(
    measured: Measured, lam: float
) -> None:
    certain = make_prior(intercept=50.0, slope=0.0)  # of model 2; none hopes for more
    rule = TwoStageRule(measured, certain)
    said = "cannot escalate" in observe(rule, lam)[0]
    assert said == (lam <= rule.relative_cost)
    if said:
        assert not rule.at(lam).escalated.any()


def test_changed_answers_are_counted(rule: TwoStageRule) -> None:
    small = [a.quality for a in rule.model1]
    large = [a.quality for a in rule.verified]
    better = sum(b > a for a, b in zip(small, large, strict=True))
    assert better > 0
    (said,) = [line for line in observe(rule, 0.0) if line.startswith("Had all")]
    assert f"{better} of {NUM_SAMPLES} escalations ({better / NUM_SAMPLES:.0%})" in said
    assert "from wrong to right" in said


def test_the_next_lambda_is_one_of_the_sweep_that_escalates(measured: Measured) -> None:
    hopeful = TwoStageRule(measured, make_prior(intercept=3.0, slope=0.0))
    lam, _ = next_lambda(hopeful)
    assert lam in SWEEP and hopeful.at(lam).escalated.any()
    hopeless = TwoStageRule(measured, make_prior(intercept=-9.0, slope=0.0))
    lam, reason = next_lambda(hopeless)
    assert lam == SWEEP[-1] and "never escalated" in reason
    assert any("never escalates" in line for line in observe(hopeless, 1.0))


def test_a_prompt_that_a_stage_cannot_take_is_left_out_of_all(tmp_path: Path) -> None:
    tasks = make_tasks(5)

    def too_long(name: str, prompt: str) -> str:
        if name == "large" and tasks[2].prompt in prompt:
            raise ContextOverflowError("the prompt is too long")
        return answer_of(name, prompt)

    measured = run(Pair(tmp_path, too_long), tasks)
    assert [s.task.id for s in measured.samples] == [t.id for t in tasks if t is not tasks[2]]
    assert measured.left_out == ((tasks[2].id, "the prompt is too long"),)


def test_prompts_without_a_grade_are_no_samples(tmp_path: Path) -> None:
    tasks = [replace(task, grader="none") for task in make_tasks(2)]
    with pytest.raises(DataError, match="no prompt could be answered and graded: not graded"):
        run(Pair(tmp_path), tasks)


def test_a_model_without_cost_is_refused(tmp_path: Path) -> None:
    measured = run(Pair(tmp_path, small=Rates(0.0, 0.0)), make_tasks(2))
    with pytest.raises(DataError, match="'small' costs nothing"):
        TwoStageRule(measured, make_prior())


def test_a_busy_machine_shows_in_latencies_that_the_rates_do_not_give(
    tmp_path: Path, rule: TwoStageRule
) -> None:
    assert not any("something else ran" in line for line in observe(rule, 1.0))
    fast = {"small": Rates(1e-6, 1e-5), "large": Rates(1e-6, 1e-5)}
    busy = TwoStageRule(run(Pair(tmp_path, **fast), make_tasks(3)), make_prior())
    assert any("something else ran" in line for line in observe(busy, 1.0))
