"""Fitting: deterministic, from any outcome table, and honest about unseen prompts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adaptive_sd.artifact import Artifact
from adaptive_sd.cascade import Cascade, Request
from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.calibration import auc
from adaptive_sd.decision.rollout import roll_out
from adaptive_sd.errors import DataError
from adaptive_sd.judge import FittedJudge
from adaptive_sd.offline.evidence import read_evidence, to_fit_table
from adaptive_sd.offline.fit import MIN_PROMPTS, fit_artifact
from adaptive_sd.prompt import prompt_hash
from adaptive_sd.stage_record import StageRecord
from tests.ladder import is_right, make_stages, make_table, make_tasks


@pytest.fixture(scope="module")
def unseen(tmp_path_factory: pytest.TempPathFactory) -> OutcomeTable:
    return make_table(tmp_path_factory.mktemp("unseen"), make_tasks(60, seed=8))


def bare_table(num_prompts: int, seed: int = 0) -> OutcomeTable:
    """Somebody else's table: required columns only."""
    rng = np.random.default_rng(seed)
    quality = (rng.random((num_prompts, 2)) < [0.4, 0.8]).astype(float)
    return OutcomeTable(
        stages=(StageRecord("a"), StageRecord("b")),
        prompt_ids=tuple(f"p{i}" for i in range(num_prompts)),
        quality=quality,
        cost=np.tile([1.0, 4.0], (num_prompts, 1)),
        columns={},
        num_left_out=0,
    )


def test_predictors_rank_answers_to_prompts_they_were_not_fitted_on(
    artifact: Artifact, unseen: OutcomeTable
) -> None:
    evidence = read_evidence(unseen, artifact.projections)
    for k, predictor in enumerate(artifact.predictors):
        assert auc(predictor.predict_many(evidence.features[:, k]), unseen.quality[:, k]) > 0.8


def test_the_policy_followed_on_a_table_is_the_live_cascade(
    artifact: Artifact, unseen: OutcomeTable, tmp_path: Path
) -> None:
    evidence = read_evidence(unseen, artifact.projections)
    estimates = np.stack(
        [p.predict_many(evidence.features[:, k]) for k, p in enumerate(artifact.predictors)], axis=1
    )
    table = to_fit_table(unseen, evidence, estimates)
    cascade = Cascade(make_stages(tmp_path), FittedJudge(artifact))
    rows = {prompt_id: n for n, prompt_id in enumerate(unseen.prompt_ids)}
    for lam in (0.0, 0.8, artifact.recommended_lam, 40.0):
        rolled = roll_out(artifact.policy, table, lam)
        for task in make_tasks(60, seed=8):
            answer = cascade.answer(task.prompt, Request(lam=lam))
            n = rows[task.id]
            assert answer.stage_index == rolled.stage[n]
            assert rolled.quality[n] == float(is_right(answer.stage, task.prompt))
            assert sum(step.tokens_in > 0 for step in answer.trace) == rolled.num_run[n]


def test_the_recommended_lambda_saves_and_keeps_quality_on_unseen_prompts(
    artifact: Artifact, unseen: OutcomeTable
) -> None:
    evidence = read_evidence(unseen, artifact.projections)
    estimates = np.stack(
        [p.predict_many(evidence.features[:, k]) for k, p in enumerate(artifact.predictors)], axis=1
    )
    table = to_fit_table(unseen, evidence, estimates)
    rolled = roll_out(artifact.policy, table, artifact.recommended_lam)
    assert rolled.cost.mean() < 0.9 * unseen.cost[:, -1].mean()
    assert rolled.quality.mean() > 0.9 * unseen.quality[:, -1].mean()


def test_a_table_of_required_columns_is_enough_and_gives_the_same_for_a_seed() -> None:
    table = bare_table(80)
    (first, report), (second, _) = fit_artifact(table, seed=3), fit_artifact(table, seed=3)
    assert report.num_prompts == 80
    assert first.metrics == second.metrics and first.recommended_lam == second.recommended_lam
    ours, theirs = (policy.to_arrays() for policy in (first.policy, second.policy))
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        np.testing.assert_array_equal(values, theirs[name])


def test_without_evidence_the_better_buy_is_found() -> None:
    """Stage b gains 0.4 for 4 when it is run at once: it pays from lambda (4 - 1) / 0.4 on."""
    artifact, _ = fit_artifact(bare_table(400))
    policy = artifact.policy
    nothing = read_evidence(bare_table(1), artifact.projections)
    table = to_fit_table(bare_table(1), nothing, np.array([[0.4, 0.8]]))
    assert roll_out(policy, table, 2.0).stage[0] == 0
    assert roll_out(policy, table, 30.0).stage[0] == 1


def test_the_artifact_keeps_the_hashes_of_its_prompts(artifact: Artifact) -> None:
    assert {prompt_hash(t.prompt) for t in make_tasks(200)} == set(artifact.prompt_hashes)


def test_a_prompt_is_known_by_whichever_of_its_rows_has_the_text() -> None:
    texts = np.array([[None, f"question {n}"] for n in range(60)], dtype=object)
    texts[0], texts[1] = None, np.nan
    artifact, _ = fit_artifact(replace(bare_table(60), columns={"prompt": texts}))
    assert set(artifact.prompt_hashes) == {prompt_hash(f"question {n}") for n in range(2, 60)}


def test_where_the_recommended_lambda_comes_from_says_on_which_prompts(artifact: Artifact) -> None:
    assert artifact.lam_origin.endswith("out of fold, on the prompts it was chosen on")


def test_prompts_to_test_on_are_never_fitted_on() -> None:
    table = bare_table(120)
    split = np.where(np.arange(120)[:, None] < 80, "fit", "test").repeat(2, axis=1).astype(object)
    marked, _ = fit_artifact(replace(table, columns={"split": split}))
    alone, _ = fit_artifact(table.take(np.arange(80)))
    assert marked.metrics == alone.metrics and marked.data_hash == alone.data_hash


def test_too_few_prompts_are_refused() -> None:
    table = bare_table(MIN_PROMPTS - 1)
    with pytest.raises(DataError, match=f"needs at least {MIN_PROMPTS}"):
        fit_artifact(table)


def test_one_stage_alone_can_be_fitted() -> None:
    table = bare_table(60)
    one = replace(table, stages=table.stages[:1], quality=table.quality[:, :1])
    artifact, report = fit_artifact(replace(one, cost=table.cost[:, :1]))
    assert artifact.policy.stages == (0,) and report.stages[0].share_answered == 1.0


def test_counts_that_are_all_empty_are_as_counts_that_are_not_there() -> None:
    table = bare_table(60)
    empty = replace(table, columns={"tokens_out": np.full(table.quality.shape, np.nan)})
    prior, none = (fit_artifact(t)[0].prior for t in (empty, table))
    assert (prior.tokens_in, prior.tokens_out) == (none.tokens_in, none.tokens_out) == (0, 0)


def test_a_stage_that_never_pays_is_named_and_what_predictors_rest_on_is_told() -> None:
    table = bare_table(300)
    sometimes = np.random.default_rng(1).random((300, 1)) < 0.7
    worse = table.quality[:, :1] * sometimes  # right only where a cheaper one is
    length = 100 * (1 - table.quality) + 50.0
    ladder = replace(
        table,
        stages=(StageRecord("a"), StageRecord("useless"), StageRecord("b")),
        quality=np.hstack([table.quality[:, :1], worse, table.quality[:, 1:]]),
        cost=np.tile([1.0, 8.0, 4.0], (300, 1)),
        columns={"signal_log_tokens_out": np.log(length[:, [0, 0, 1]])},
    )
    artifact, report = fit_artifact(ladder)
    assert artifact.policy.stages == (0, 2)
    assert [stage.dropped for stage in report.stages] == [False, True, False]
    assert "never pays at any lambda, left out: useless" in report.as_text()
    assert next(iter(report.stages[0].importance)) == "log_tokens_out"
    assert report.stages[0].importance["log_tokens_out"] > 0.3
    assert artifact.metrics == report.to_json()
    assert "drawn" not in report.as_text()
    of_many = replace(report, num_prompts=15_000).as_text()
    assert "drawn by the seed: candidate predictors compared on 10,000; falls of AUC" in of_many


def telling_table(num_prompts: int = 400, *, tells: bool = True) -> OutcomeTable:
    """Stage a is right on half of the prompts: its first 16 of 50 tokens tell which, or nothing."""
    rng = np.random.default_rng(0)
    quality = np.stack([rng.random(num_prompts) < 0.5, np.ones(num_prompts)], axis=1).astype(float)
    nothing = np.full(quality.shape, np.nan)
    told = (quality if tells else rng.random(quality.shape)) - 1
    return replace(
        bare_table(num_prompts),
        quality=quality,
        cost=np.tile([4.0, 10.0], (num_prompts, 1)),
        columns={
            "signal_logprob_mean": quality - 1,
            "cost@16": np.where([True, False], 1.0, nothing),
            "signal_logprob_mean@16": np.where([True, False], told, nothing),
        },
    )


def test_a_report_says_which_drafts_are_abandoned_and_what_that_saves() -> None:
    artifact, report = fit_artifact(telling_table())
    found = report.abandoning
    assert found is not None and list(found.lambdas) == ["a"]
    ((low, high),) = found.lambdas["a"]
    assert low <= found.most.lam <= high
    wrong = 1 - report.stages[0].quality
    assert found.most.cost == pytest.approx(-3 * wrong / (4 + 10 * wrong), abs=0.02)
    assert found.most.quality == pytest.approx(0, abs=0.01)
    assert found.recommended.lam == artifact.recommended_lam
    (line,) = (line for line in report.as_text().splitlines() if line.startswith("drafts"))
    assert line.startswith(f"drafts may be abandoned of a at lambda {low:.3g} to {high:.3g}: cost ")
    assert f"{found.recommended} at the recommended lambda" in line
    assert line.endswith(f"most at {found.most.lam:.3g}: {found.most}")
    assert json.loads(json.dumps(artifact.metrics))["abandoning"]["lambdas"] == {"a": [[low, high]]}


def test_a_report_says_so_where_no_draft_is_abandoned() -> None:
    _, report = fit_artifact(telling_table(tells=False))
    assert "drafts are never abandoned" in report.as_text()
    _, silent = fit_artifact(bare_table(60))
    assert silent.abandoning is None and "abandon" not in silent.as_text()
