"""A recorded prompt is explained by what the policy does on it, and by nothing it has seen."""

from __future__ import annotations

import json

import numpy as np
import pytest

from adaptive_sd.artifact import Artifact
from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.errors import DataError
from adaptive_sd.offline.replay.field import Field
from adaptive_sd.offline.replay.halves import split
from adaptive_sd.offline.report.explained import explain_recorded
from adaptive_sd.offline.report.flow import make_flow
from adaptive_sd.types import Action
from tests.ladder import make_table, make_tasks
from tests.offline.report.tables import hostile_table

RAN = (Action.DRAFT, Action.VERIFY, Action.ABANDON)


@pytest.fixture(scope="module")
def table() -> OutcomeTable:
    return hostile_table(104, 2)


@pytest.mark.slow
def test_it_is_what_a_replay_of_the_same_seed_does(table: OutcomeTable) -> None:
    subject, names = Field(table, None, seed=1).subject, [s.name for s in table.stages]
    prompt_id = subject.outcomes.prompt_ids[0]
    found = explain_recorded(table, prompt_id, seed=1)
    lam = found.answer.lam
    assert lam == subject.recommended_lam
    path = make_flow(subject, lam).paths[0]
    ran = [names.index(step.stage) for step in found.answer.trace if step.action in RAN]
    assert (tuple(ran), found.answer.stage_index) == (path.stages, path.returned)
    row = table.prompt_ids.index(prompt_id)
    np.testing.assert_array_equal([s.quality for s in found.stages], table.quality[row])
    np.testing.assert_array_equal([s.cost for s in found.stages], table.cost[row])
    assert found.quality == table.quality[row, path.returned]
    assert [s.ran for s in found.stages] == [k in path.stages for k in range(2)]
    for told in (found.answer.opening, *found.answer.trace):
        for each in told.alternatives:
            assert each.loss == pytest.approx(each.cost + lam * (1 - each.quality))
    document = json.loads(json.dumps(found.to_json("a table"), allow_nan=False))
    assert document["prompt"] == table.columns["prompt"][row, 0]


def test_a_prompt_that_was_fitted_on_is_refused_and_another_named(table: OutcomeTable) -> None:
    parts = split(table, seed=0)
    fitted, other = (table.prompt_ids[rows[0]] for rows in (parts.fit, parts.test))
    with pytest.raises(DataError, match="in the half to fit on") as refused:
        explain_recorded(table, fitted)
    assert repr(other) in str(refused.value) and "another --seed" in str(refused.value)


@pytest.mark.parametrize("asked", ["<i>1", "nothing like it", ""])
def test_an_unknown_prompt_is_told_the_nearest(table: OutcomeTable, asked: str) -> None:
    with pytest.raises(DataError, match="no graded prompt") as refused:
        explain_recorded(table, asked)
    assert any(repr(name) in str(refused.value) for name in table.prompt_ids)


def test_an_artifact_explains_what_it_was_not_fitted_on(
    artifact: Artifact, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = make_table(tmp_path_factory.mktemp("why"), make_tasks(55, seed=9))
    for prompt_id in other.prompt_ids[:2]:
        found = explain_recorded(other, prompt_id, artifact=artifact)
        assert found.answer.lam == artifact.recommended_lam
        assert found.prompt_id == prompt_id and found.answer.trace
    own = make_table(tmp_path_factory.mktemp("own"), make_tasks(55, seed=0))
    with pytest.raises(DataError, match="was fitted on"):
        explain_recorded(own, own.prompt_ids[0], artifact=artifact)
