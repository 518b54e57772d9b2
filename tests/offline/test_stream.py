"""Recorded streams through an online ladder: as live, and what a change of their mix does."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adaptive_sd.artifact import Artifact
from adaptive_sd.cascade import Cascade
from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.rollout import roll_out
from adaptive_sd.event_log import EventLog
from adaptive_sd.judge import FittedJudge
from adaptive_sd.offline.reference import firsts_of, reference_of
from adaptive_sd.offline.replay.seen import seen_by
from adaptive_sd.offline.studies.stream import (
    false_alarms,
    false_alarms_ahead,
    run_stream,
    subject_of,
)
from adaptive_sd.online import Online
from tests.ladder import make_stages, make_table, make_tasks

TASKS = make_tasks(150, seed=51)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> OutcomeTable:
    return make_table(tmp_path_factory.mktemp("stream"), TASKS)


def test_first_drafts_of_a_table_are_those_of_the_live_ladder(
    artifact: Artifact, table: OutcomeTable, tmp_path: Path
) -> None:
    path, judge = tmp_path / "t.sqlite", FittedJudge(artifact)
    cascade = Cascade(make_stages(tmp_path), judge, online=Online(judge, path, explore=0.2))
    for task in TASKS:
        cascade.answer(task.prompt)
    events = EventLog(path).since(0, judge.fingerprint, 3)
    lam = artifact.recommended_lam
    wanted = dict(
        zip(
            table.prompt_ids, firsts_of(artifact.policy, seen_by(artifact, table), lam), strict=True
        )
    )
    for task, event in zip(TASKS, events, strict=True):
        found = event.observed.first
        assert found is not None
        assert (found.stage, found.escalates) == (wanted[task.id].stage, wanted[task.id].escalates)
        assert found.quality == pytest.approx(wanted[task.id].quality, abs=1e-6)


def test_a_reference_counts_each_text_once_and_only_of_forms_that_are_covered(
    artifact: Artifact, table: OutcomeTable
) -> None:
    """As the watch does."""
    seen, lam = seen_by(artifact, table), artifact.recommended_lam
    covered = np.arange(len(TASKS)) % 5 > 0
    alone = replace(seen, group=np.arange(len(TASKS)))
    plain = reference_of(artifact.policy, alone, lam, covered)
    assert plain is not None and plain.num_firsts == covered.sum()
    twice = alone.take(np.repeat(np.arange(len(TASKS)), 2))
    assert reference_of(artifact.policy, twice, lam, np.repeat(covered, 2)) == plain
    assert reference_of(artifact.policy, alone, lam, np.zeros_like(covered)) is None


def test_a_stream_that_learns_nothing_is_the_table_followed(
    artifact: Artifact, table: OutcomeTable
) -> None:
    subject = subject_of(artifact, table)
    passed = run_stream(artifact, subject, range(len(TASKS)), told=0.0, path=None)
    rolled = roll_out(artifact.policy, subject.table, artifact.recommended_lam)
    np.testing.assert_allclose(passed.quality, rolled.quality)
    np.testing.assert_allclose(passed.cost, rolled.cost)
    assert passed.drifted_at is None


def test_after_a_change_of_mix_feedback_mends_estimates_and_the_change_is_noticed(
    artifact: Artifact, table: OutcomeTable, tmp_path: Path
) -> None:
    """First all prompts, then those that the small stage, or whoever answers, gets wrong."""
    subject, end = subject_of(artifact, table), slice(400, None)
    rolled = roll_out(artifact.policy, subject.table, artifact.recommended_lam)
    wrong, hard = np.flatnonzero(rolled.quality < 0.5), np.flatnonzero(table.quality[:, 0] < 0.5)
    errors = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        late = np.concatenate([rng.choice(wrong, 200), rng.choice(hard, 200)])
        rows = [*rng.integers(len(TASKS), size=200).tolist(), *rng.permutation(late).tolist()]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            frozen = run_stream(artifact, subject, rows, told=0.0, path=None)
            path = tmp_path / f"{seed}.sqlite"
            online = run_stream(artifact, subject, rows, told=0.2, path=path, seed=seed)
        assert online.drifted_at is not None and 200 < online.drifted_at < 500
        assert online.ece(end) < frozen.ece(end)
        errors.append((frozen.ece(end), online.ece(end)))
    before, after = np.mean(errors, axis=0)
    assert after < 0.85 * before


def test_streams_like_the_fits_prompts_give_no_alarm(artifact: Artifact) -> None:
    assert artifact.reference is not None
    ahead = {"num_streams": 40, "num_answers": 300}
    rng = np.random.default_rng(1)
    assert false_alarms_ahead(artifact.reference, rng=rng, **ahead) <= 2
    few = replace(artifact.reference, num_escalated=0)
    assert false_alarms_ahead(few, rng=rng, **ahead) <= 2


def test_unseen_prompts_of_the_fits_kind_give_no_alarm_and_others_do(
    artifact: Artifact, table: OutcomeTable
) -> None:
    """By the artifact's own reference, whose estimates are out of fold."""
    rng = np.random.default_rng(1)
    assert false_alarms(artifact, table, num_orders=20, rng=rng) <= 1
    hard = table.take(np.repeat(np.flatnonzero(table.quality[:, 1] < 0.5), 3))
    assert false_alarms(artifact, hard, num_orders=20, rng=rng) >= 19
