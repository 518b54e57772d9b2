"""What the page is told: laws of its numbers, and that they are the replay's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.artifact import Artifact
from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.calibration import expected_calibration_error
from adaptive_sd.decision.guarded import GuardedPolicy
from adaptive_sd.decision.partial import CHECKPOINTS, WHOLE, Drafted
from adaptive_sd.decision.paths import follow
from adaptive_sd.decision.policies import ThresholdPolicy
from adaptive_sd.errors import ConfigError, DataError
from adaptive_sd.offline.replay.adaptive import run_adaptive
from adaptive_sd.offline.replay.curve import Scale, area, heights_at
from adaptive_sd.offline.replay.field import Field, Subject
from adaptive_sd.offline.replay.run import replay
from adaptive_sd.offline.report.examples import NUM_EXAMPLES
from adaptive_sd.offline.report.flow import make_flow
from adaptive_sd.offline.report.gather import Report, make_report
from adaptive_sd.offline.report.latency import measure_latency
from adaptive_sd.offline.report.recorded import answer_recorded
from adaptive_sd.types import Action
from tests.decision.tables import with_parts, with_savings
from tests.ladder import make_table, make_tasks
from tests.offline.benches.test_decision import guarded_by
from tests.offline.report.tables import hostile_table, page_of


@pytest.fixture
def subject(field: Field) -> Subject:
    return field.subject


def test_the_figures_are_those_of_a_replay(hostile: OutcomeTable, report: Report) -> None:
    some = {"best_pair", "adaptive"}
    again = replay(hostile, policies=sorted(some), num_resamples=20)
    found = {name: policy for name, policy in report.replay.policies.items() if name in some}
    assert replace(report.replay, policies=found) == again


@given(
    st.lists(st.tuples(st.floats(0, 2), st.floats(0, 1)), min_size=1, max_size=8),
    st.floats(0, 1),
)
def test_the_mean_height_of_a_curve_is_its_area(
    points: list[tuple[float, float]], cheapest: float
) -> None:
    cost, quality = np.array(points).T
    scale = Scale(0.5, cheapest, 1.5, 1.0, 1.5)
    places = np.linspace(0.5, 1.5, 20_001)
    heights = heights_at(places, cost, quality, scale)
    assert heights.mean() == pytest.approx(area(cost, quality, scale), abs=2e-4)


def test_curves_are_those_of_the_areas_and_bands_lie_around_them(report: Report) -> None:
    assert [curve.policy for curve in report.frontier.curves] == list(report.replay.policies)
    for curve in report.frontier.curves:
        found = report.replay.policies[curve.policy]
        assert curve.heights.mean() == pytest.approx(found.area.value, abs=0.02)
        points = sorted((point.cost, point.quality) for point in found.points)
        np.testing.assert_allclose(
            sorted(zip(curve.cost, curve.quality, strict=True)), points, rtol=1e-9
        )
        if curve.low is not None and curve.high is not None:
            assert (curve.low <= curve.high).all()
    with_band = [curve.policy for curve in report.frontier.curves if curve.low is not None]
    assert with_band == ["best_pair", "adaptive"]


def test_shares_sum_to_one_and_every_prompt_stops_once(report: Report) -> None:
    flow = report.flow
    for row in flow.stops:
        assert row.stopped.sum() == pytest.approx(1)
    reached = flow.counts > 0
    np.testing.assert_allclose(flow.shares[reached].sum(axis=1), 1)
    assert np.isnan(flow.shares[~reached]).all()
    moves = np.nan_to_num(flow.shares) * flow.counts[:, None]
    assert moves[:, -1].sum() == pytest.approx(len(flow.paths)) == flow.counts[0]
    np.testing.assert_allclose(moves[:, :-1].sum(axis=0), flow.counts[1:])
    assert (np.tril(flow.shares[1:, :-1]) == 0).all() or not reached.all()


def test_groups_share_out_all_prompts(report: Report) -> None:
    everyone, *groups = report.flow.stops
    assert [row.grouping for row in groups] == ["category"] * 3
    sizes = np.array([row.num_prompts for row in groups])
    assert sizes.sum() == everyone.num_prompts
    for name in ("stopped", "escalated", "recalled", "quality", "cost"):
        parts = np.array([getattr(row, name) for row in groups])
        np.testing.assert_allclose(
            np.average(parts, axis=0, weights=sizes), getattr(everyone, name)
        )


def test_the_bins_are_those_of_the_calibration_error(subject: Subject, report: Report) -> None:
    for k, stage in enumerate(report.reliability):
        count = sum(b.num_prompts for b in stage.bins)
        gap = sum(b.num_prompts * abs(b.quality - b.estimate) for b in stage.bins) / count
        estimates, quality = subject.table.estimates[:, k], subject.table.quality[:, k]
        assert count == len(quality)
        assert gap == pytest.approx(expected_calibration_error(estimates, quality))
        assert gap == pytest.approx(stage.predictor.ece.value)
        assert all(0 <= b.low <= b.quality <= b.high <= 1 for b in stage.bins)


def test_importance_is_of_evidence_that_varies_and_finds_what_matters(report: Report) -> None:
    for falls in report.importance:
        assert list(falls.values()) == sorted(falls.values(), reverse=True)
        assert next(iter(falls)) == "logprob_mean" and falls["logprob_mean"] > 0
        assert "no_logprobs" not in falls  # of all drafts alike


@pytest.mark.parametrize("place", [1, 8, 16])
def test_an_example_is_what_the_table_says_the_policy_does(subject: Subject, place: int) -> None:
    """The live loop on recorded outcomes against the rule followed on the whole table."""
    lam = float(subject.policy.lam_grid[place])
    paths = make_flow(subject, lam).paths
    run = next(run_adaptive(subject.policy, subject.table, [lam]))
    for row in range(0, len(paths), 7):
        answer = answer_recorded(subject, row, lam)
        names = [stage.name for stage in subject.outcomes.stages]
        ran = tuple(names.index(s.stage) for s in answer.trace if s.action is Action.DRAFT)
        assert (ran, answer.stage_index) == (paths[row].stages, paths[row].returned)
        assert answer.cost == pytest.approx(run.cost[row])


@pytest.mark.parametrize("place", [4, 12])
def test_an_example_abandons_what_the_policy_does(subject: Subject, place: int) -> None:
    guarded = subject.policy
    induced = with_savings(guarded.induced, rng=np.random.default_rng(place))
    policy = GuardedPolicy(induced, (None,) * len(guarded.chains))
    subject = replace(subject, policy=policy, table=with_parts(subject.table, seed=place))
    lam = float(policy.lam_grid[place])
    paths = follow(policy, subject.table, lam)
    run = next(run_adaptive(policy, subject.table, [lam]))
    names = [stage.name for stage in subject.outcomes.stages]
    for row, path in enumerate(paths):
        answer = answer_recorded(subject, row, lam)
        drafts = tuple(
            Drafted(
                names.index(step.stage),
                CHECKPOINTS.index(step.tokens_out) if step.action is Action.ABANDON else WHOLE,
            )
            for step in answer.trace
            if step.action in (Action.DRAFT, Action.ABANDON)
        )
        assert (drafts, answer.stage_index) == path
        assert answer.cost == pytest.approx(run.cost[row])
    assert any(draft.place < WHOLE for path in paths for draft in path.drafts)


def test_examples_show_every_path_first(report: Report) -> None:
    shown = {(example.path, example.returned) for example in report.examples}
    assert len(report.examples) == NUM_EXAMPLES
    assert len(shown) == min(NUM_EXAMPLES, len(set(report.flow.paths)))
    for example in report.examples:
        assert [a.stage for a in example.answers if a.returned] == [example.returned]
        assert tuple(a.stage for a in example.answers if a.ran) == example.path
        assert all(step.reason for step in example.steps)
        assert len(example.prompt) < 4000


def test_latencies_are_quantiles_of_what_is_known(hostile: OutcomeTable) -> None:
    seconds = np.array(hostile.columns["latency_s"])
    found = measure_latency(hostile)
    assert found is not None and found.source == "latency_s"
    np.testing.assert_allclose(
        [row.seconds for row in found.rows], np.quantile(seconds, [0.5, 0.95, 0.99], axis=0).T
    )
    half = {"prefill_s": seconds / 2, "decode_s": seconds / 2}
    apart = measure_latency(replace(hostile, columns=half))
    assert apart is not None and apart.source == "prefill_s + decode_s"
    np.testing.assert_allclose(
        [row.seconds for row in apart.rows], [row.seconds for row in found.rows]
    )
    unknown = np.full(seconds.shape, None, dtype=object)
    assert measure_latency(replace(hostile, columns={})) is None
    assert measure_latency(replace(hostile, columns={"latency_s": unknown})) is None


def test_the_same_seed_gives_the_same_page_but_for_the_timings() -> None:
    table = hostile_table(104, 1, seed=4)
    one, same = (make_report(table, num_resamples=5, num_calls=5, seed=2) for _ in range(2))
    assert page_of(one) == page_of(replace(same, decision=one.decision))


def test_an_artifact_speaks_of_the_prompts_to_test_on(
    artifact: Artifact, tmp_path_factory: pytest.TempPathFactory
) -> None:
    table = make_table(tmp_path_factory.mktemp("report"), make_tasks(110, seed=5))
    found = make_report(table, artifact=artifact, num_resamples=5, num_calls=5)
    assert len(found.flow.paths) == 55 and found.lam == artifact.recommended_lam
    assert found.latency is not None
    assert "the last stage that ran, of 55 prompts" in page_of(found)
    with pytest.raises(ConfigError, match="this artifact is fitted for 0 to"):
        make_report(table, artifact=artifact, lam=1e9, num_resamples=5)


def test_a_policy_that_never_begins_with_the_first_stage_is_reported(
    artifact: Artifact, tmp_path_factory: pytest.TempPathFactory
) -> None:
    table = make_table(tmp_path_factory.mktemp("report"), make_tasks(104, seed=5))
    later = guarded_by(artifact, ThresholdPolicy((1, 2), (0.5,)))
    found = make_report(table, artifact=later, num_resamples=2, num_calls=3)
    assert found.decision.num_calls == 3 and found.flow.stops[0].stopped[0] == 0


def test_prompts_that_an_artifact_was_fitted_on_are_refused(
    artifact: Artifact, tmp_path_factory: pytest.TempPathFactory
) -> None:
    seen = make_table(tmp_path_factory.mktemp("report"), make_tasks(60, seed=0))
    with pytest.raises(DataError, match="are among those that the artifact was fitted on"):
        make_report(seen, artifact=artifact)


@pytest.mark.slow
def test_six_stages_are_reported() -> None:
    found = make_report(hostile_table(110, 6), num_resamples=5, num_calls=5)
    assert found.flow.shares.shape == (7, 7)
    assert "fifth" in page_of(found)
