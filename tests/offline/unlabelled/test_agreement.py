"""Agreement: told by the answers alone, and only where the largest stage has one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.errors import DataError
from adaptive_sd.forms import Form
from adaptive_sd.offline.evidence import fit_projections, read_evidence
from adaptive_sd.offline.studies.ladders import take_stages
from adaptive_sd.offline.unlabelled.agreement import CLOSED, grade_by_agreement, similarity
from tests.ladder import make_table, make_tasks
from tests.offline.unlabelled.tables import unlabelled_table, unlabelled_tasks

TEXTS = st.lists(st.sampled_from(["red", "blue", "7", "of"]), max_size=5).map(" ".join)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> OutcomeTable:
    tasks = unlabelled_tasks(30, num_others=10)
    return unlabelled_table(tmp_path_factory.mktemp("agreement"), tasks)


@given(TEXTS, TEXTS, st.sampled_from(Form))
def test_similarity_is_the_same_either_way_and_full_for_equal_answers_only(
    one: str, other: str, form: Form
) -> None:
    found = similarity(one, other, form)
    assert found == similarity(other, one, form) and 0 <= found <= 1
    assert similarity(one, one, form) == 1
    if form in CLOSED:
        assert found == (one == other)
    elif sorted(one.split()) != sorted(other.split()):
        assert found < 1
    if not {*one.split()} & {*other.split()} and one != other:
        assert found == 0


def test_labels_have_no_say(table: OutcomeTable, tmp_path: Path) -> None:
    labelled = make_table(tmp_path, make_tasks(30))
    assert np.isnan(table.quality).all() and not np.isnan(labelled.quality).any()
    wanted = grade_by_agreement(labelled).table
    found = grade_by_agreement(table).table
    sums = np.array([name.startswith("s0/") for name in found.prompt_ids])
    np.testing.assert_array_equal(found.quality[sums], wanted.quality)
    assert found.agreement_with == "large" and (found.quality[:, -1] == 1).all()
    evidence = read_evidence(wanted, fit_projections(wanted))
    np.testing.assert_array_equal(wanted.quality, evidence.agreement[:, :, -1])
    assert 0 < wanted.quality[:, 0].mean() < wanted.quality[:, 1].mean() < 1


def changed(table: OutcomeTable, **columns: np.ndarray) -> OutcomeTable:
    return replace(table, columns=dict(table.columns) | columns)


def test_prompts_without_an_answer_to_agree_with_are_left_out_and_counted(
    table: OutcomeTable,
) -> None:
    is_sum = np.array([name.startswith("s0/") for name in table.prompt_ids])
    (one, two, three, *_), (text, other, *_) = np.flatnonzero(is_sum), np.flatnonzero(~is_sum)
    answers = table.columns["answer"].copy()
    cut = table.columns["signal_finished_by_length"].copy()
    answers[one, 0] = None  # a stage failed
    answers[two, 2] = "I cannot tell"  # of a sum
    cut[three, 2], cut[text, 2] = 1, 1  # a text that was cut off is one
    answers[other, 2] = "\n"
    cut[~is_sum, 0] = 1
    given = changed(table, answer=answers, signal_finished_by_length=cut)
    found = grade_by_agreement(given)
    assert (found.num_failed, found.num_unanswered) == (1, 3)
    left_out = {table.prompt_ids[n] for n in (one, two, three, other)}
    assert {*table.prompt_ids} - {*found.table.prompt_ids} == left_out
    assert found.table.num_left_out == 4
    graded = replace(given, quality=np.zeros_like(given.quality))  # a bare table has no failures
    assert grade_by_agreement(graded).num_failed == 0


def test_a_table_that_agreement_cannot_be_told_of_is_refused(table: OutcomeTable) -> None:
    with pytest.raises(DataError, match="a ladder to calibrate has two or more"):
        grade_by_agreement(take_stages(table, ["large"]))
    columns = {name: column for name, column in table.columns.items() if name != "answer"}
    with pytest.raises(DataError, match="no column 'answer'"):
        grade_by_agreement(replace(table, columns=columns))
