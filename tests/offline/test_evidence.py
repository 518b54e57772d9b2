"""Evidence of a table: as of its drafts one by one, in pieces as whole."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from adaptive_sd.artifact import Artifact
from adaptive_sd.data.outcomes import OutcomeTable, read_outcomes
from adaptive_sd.decision.faults import find_faults
from adaptive_sd.decision.features import (
    DraftView,
    HiddenProjection,
    PromptView,
    agree,
    extract_features,
)
from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.partial import CHECKPOINTS, partial_statistics
from adaptive_sd.forms import canonical_answer, detect_form
from adaptive_sd.offline.evidence import (
    PROJECTED_STATES,
    fit_projections,
    read_evidence,
    to_fit_table,
)
from adaptive_sd.offline.replay.halves import see
from adaptive_sd.offline.replay.seen import seen_by
from adaptive_sd.offline.signals import signal_columns
from adaptive_sd.offline.synthetic import write_synthetic
from adaptive_sd.stage_record import StageRecord
from tests.ladder import make_table, make_tasks


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> OutcomeTable:
    """With prompts, answers, log-probabilities and hidden states."""
    return make_table(tmp_path_factory.mktemp("evidence"), make_tasks(30, seed=3), is_long=True)


def test_features_are_those_of_each_draft_alone(table: OutcomeTable) -> None:
    projections = fit_projections(table)
    evidence = read_evidence(replace(table, columns=_without_signals(table)), projections)
    columns = table.columns
    for n in range(len(table.prompt_ids)):
        text = columns["prompt"][n, 0]
        prompt = PromptView.of(text, detect_form(text))
        assert evidence.prompts[n] == prompt
        views = [
            DraftView(
                answer := canonical_answer(columns["answer"][n, k], prompt.form),
                columns["tokens_out"][n, k],
                columns["tokens_in"][n, k],
                token_logprobs=columns["logprobs"][n, k],
                hidden=columns["hidden"][n, k],
                faults=find_faults(answer, columns["answer"][n, k], prompt.form, prompt.words),
            )
            for k in range(3)
        ]
        for k, view in enumerate(views):
            alone = extract_features(view, prompt, projections[k])
            np.testing.assert_allclose(evidence.features[n, k], alone, rtol=1e-6, atol=1e-6)
            for j in range(3):
                assert evidence.agreement[n, k, j] == agree(view.answer, views[j].answer)


def _without_signals(table: OutcomeTable) -> dict[str, np.ndarray]:
    return {n: c for n, c in table.columns.items() if not n.startswith("signal_")}


def test_first_tokens_are_told_by_the_log_probabilities(table: OutcomeTable) -> None:
    evidence = read_evidence(table, fit_projections(table))
    found = to_fit_table(table, evidence, np.full(table.quality.shape, 0.5))
    assert found.part_statistics is not None
    for place, at in enumerate(CHECKPOINTS):
        for n, k in np.ndindex(table.quality.shape):
            logprobs = table.columns["logprobs"][n, k]
            reaches = len(logprobs) >= at
            assert found.reaches(k, place)[n] == reaches
            wanted = partial_statistics(logprobs[None, :at])[0] if reaches else 0
            np.testing.assert_allclose(found.part_statistics[n, k, place], wanted, rtol=1e-6)


def test_first_tokens_are_no_evidence_of_whole_drafts(table: OutcomeTable) -> None:
    """In no table: signals of other names count where stages are not described."""
    nameless = replace(table, stages=tuple(StageRecord(s.name) for s in table.stages))
    others = {"signal_mine": table.quality, "signal_mine@16": table.quality}
    nameless = replace(nameless, columns=dict(table.columns) | others)
    assert list(signal_columns(nameless)) == ["signal_mine"]
    bare = {name: values for name, values in nameless.columns.items() if "@" not in name}
    features = [
        read_evidence(replace(nameless, columns=columns), (None,) * 3).features
        for columns in (nameless.columns, bare)
    ]
    np.testing.assert_array_equal(*features)
    nothing = to_fit_table(
        replace(table, columns=bare), read_evidence(table, (None,) * 3), table.quality
    )
    assert nothing.part_cost is None


@pytest.mark.parametrize("num_at_once", [1, 7, 29, 30])
def test_a_table_seen_in_pieces_is_the_table_seen_whole(
    table: OutcomeTable, artifact: Artifact, num_at_once: int
) -> None:
    texts = table.columns["prompt"].copy()
    texts[20:] = texts[:10]
    table = replace(table, columns={**table.columns, "prompt": texts})
    whole = seen_by(artifact, table)
    parts = see(table, artifact.predictors, artifact.projections, num_at_once)
    assert parts.group is not None
    assert parts.group.tolist() == [*range(20), *range(10)]
    for field in fields(FitTable):
        one, other = getattr(whole, field.name), getattr(parts, field.name)
        if one is None or other is None:
            assert (field.name, one, other) == ("shift", None, None)
            continue
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


def test_of_many_hidden_states_some_make_the_components() -> None:
    """Evenly from the whole table: of neighbours that are alike, one."""
    states = np.random.default_rng(0).normal(size=(PROJECTED_STATES, 3)).astype(np.float16)
    stages = (StageRecord("only"),)

    def projected(rows: np.ndarray) -> HiddenProjection:
        hidden = np.empty((len(rows), 1), dtype=object)
        hidden[:, 0] = list(rows)
        nothing = np.zeros((len(rows), 1))
        ids = tuple(map(str, range(len(rows))))
        (found,) = fit_projections(
            OutcomeTable(stages, ids, nothing, nothing, {"hidden": hidden}, 0)
        )
        assert found is not None
        return found

    once, twice = projected(states), projected(np.repeat(states, 2, axis=0))
    np.testing.assert_array_equal(once.mean, twice.mean)
    np.testing.assert_array_equal(once.components, twice.components)


@pytest.mark.parametrize("texts", [False, True])
def test_made_up_tables_are_tables_and_the_same_for_a_seed(tmp_path: Path, texts: bool) -> None:
    for name, seed in (("a", 1), ("same", 1), ("other", 2)):
        write_synthetic(tmp_path / f"{name}.parquet", 300, seed=seed, texts=texts)
    one, same, other = (
        read_outcomes(tmp_path / f"{name}.parquet") for name in ("a", "same", "other")
    )
    np.testing.assert_array_equal(one.cost, same.cost)
    assert not set(one.prompt_ids) & set(other.prompt_ids)
    assert (np.diff(one.quality.mean(axis=0)) > 0).all()
    assert (np.diff(one.cost.mean(axis=0)) > 0).all()
    evidence = read_evidence(one, (None,) * 5)
    wrong_agree = evidence.agreement[:, 0, 4][(one.quality[:, [0, 4]] == 0).all(axis=1)]
    right_agree = evidence.agreement[:, 0, 4][(one.quality[:, [0, 4]] == 1).all(axis=1)]
    assert right_agree.all() and 0 < wrong_agree.mean() < 0.6
