"""A calibration without labels: what is expected was not seen, what is said is agreement."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adaptive_sd.artifact import load_artifact, save_artifact
from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.errors import DataError
from adaptive_sd.forms import Form
from adaptive_sd.offline.certify import MIN_CERTIFIED
from adaptive_sd.offline.fit import MIN_PROMPTS
from adaptive_sd.offline.studies.ladders import take_stages
from adaptive_sd.offline.unlabelled.agreement import grade_by_agreement
from adaptive_sd.offline.unlabelled.calibrate import Calibrated, calibrate
from adaptive_sd.offline.unlabelled.expected import outcome_unseen
from tests.offline.unlabelled.tables import unlabelled_table, unlabelled_tasks

NUM_SUMS, NUM_OTHERS = 80, 8


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> OutcomeTable:
    tasks = unlabelled_tasks(NUM_SUMS, NUM_OTHERS)
    whole = unlabelled_table(tmp_path_factory.mktemp("calibrate"), tasks)
    return take_stages(whole, ["small", "large"])


@pytest.fixture(scope="module")
def found(table: OutcomeTable) -> Calibrated:
    return calibrate(table)


@pytest.mark.slow
def test_the_artifact_says_that_its_quality_is_agreement(found: Calibrated, tmp_path: Path) -> None:
    save_artifact(found.artifact, tmp_path / "a")
    loaded = load_artifact(tmp_path / "a")
    assert loaded.agreement_with == found.fit.agreement_with == "large"
    assert "95% agreement with large" in loaded.lam_origin
    assert "quality is agreement with large" in found.fit.as_text()
    document = found.report.to_json()
    written = json.loads((tmp_path / "a" / "manifest.json").read_text())["metrics"]
    assert written["calibration"] == json.loads(json.dumps(document, allow_nan=False))
    assert written["agreement_with"] == "large"
    json.dumps(found.fit.to_json(), allow_nan=False)  # the largest stage has no AUC


@pytest.mark.slow
def test_the_report_counts_prompts_by_form_and_brackets_what_it_expects(found: Calibrated) -> None:
    report = found.report
    forms = {form.form: (form.num_prompts, form.covered) for form in report.forms}
    assert forms == {Form.NUMBER: (NUM_SUMS, True), Form.SHORT: (NUM_OTHERS, False)}
    assert report.num_prompts == NUM_SUMS + NUM_OTHERS
    for expected in (report.recommended, *report.dial):
        for value, low, high in (expected.cost_share, expected.quality, expected.escalation_rate):
            assert 0 <= low <= value + 1e-9 <= high + 2e-9 and (low < high or value in (0, 1))
    lams = [expected.lam for expected in report.dial]
    assert lams == sorted(lams) and report.recommended.lam == found.artifact.recommended_lam
    assert report.dial[0].cost_share.value < report.dial[-1].cost_share.value
    text = report.as_text()
    shown = report.recommended.cost_share.high < 1
    assert report.to_json()["saving_shown"] == shown
    assert ("no saving is shown against asking large alone" in text) != shown
    for part in (
        "8 short (token F1 of normalised words)",
        "fewer than 20, so large answers all",
        "agreement of up to",
        "cannot be told: whether large is right",
        f"lambda {report.recommended.lam:<9.3g} cost {report.recommended.cost_share:.2f}",
    ):
        assert part in text, text


@pytest.mark.slow
def test_what_is_expected_of_a_part_rests_on_the_others_only(table: OutcomeTable) -> None:
    agreed = grade_by_agreement(table).table
    parts = np.arange(len(agreed.prompt_ids)) % 2
    first = parts == 0
    quality = agreed.quality.copy()
    quality[first, :-1] = 1 - quality[first, :-1]
    before, after = (
        outcome_unseen(
            *(given, [Form.NUMBER], [0.0, 3.0, 1e9], parts),
            top=len(given.stages) - 1,
            safe=True,
            seed=1,
            say=str,
        )
        for given in (agreed, replace(agreed, quality=quality))
    )
    np.testing.assert_array_equal(after.cost[first], before.cost[first])
    assert (after.cost[~first] != before.cost[~first]).any()
    others = np.array([name.startswith("other") for name in agreed.prompt_ids])
    always = agreed.cost[:, -1]
    np.testing.assert_array_equal(before.cost[others], np.stack([always[others]] * 3, axis=1))
    np.testing.assert_array_equal(before.quality[~others, 0], agreed.quality[~others, 0])
    np.testing.assert_array_equal(before.cost[:, -1], always)  # the safest dial of every part
    assert (before.quality[:, -1] == 1).all() and not before.escalated[others].any()


@pytest.mark.slow
def test_a_target_is_certified_by_prompts_set_aside_as_was_foretold(
    table: OutcomeTable, found: Calibrated
) -> None:
    promised = calibrate(table, target_quality=0.5)
    known, foretold = promised.artifact.certificates, found.report.certified
    assert known is not None and foretold is not None and found.artifact.certificates is None
    assert known == foretold
    promise = promised.report.to_json()["promise"]
    assert isinstance(promise, dict) and promise["lambda"] == promised.artifact.recommended_lam
    text, top = promised.report.as_text(), table.stages[-1].name
    assert f"promised: 0.5 agreement with {top}" in text and "best single stage" not in text
    assert "graded" not in text
    assert f"0.5 agreement with {top}" in promised.artifact.lam_origin
    assert f"agreement of up to {known.highest}" in found.report.as_text()


@pytest.mark.parametrize(("target", "least"), [(None, MIN_PROMPTS), (0.9, MIN_CERTIFIED)])
def test_too_few_prompts_are_refused_with_the_number_that_is_needed(
    table: OutcomeTable, target: float | None, least: int
) -> None:
    with pytest.raises(DataError, match=f"{least - 1} prompts .* needs at least {least},"):
        calibrate(table.take(np.arange(least - 1)), target_quality=target)


def test_a_ladder_is_not_fitted_where_no_form_comes_often_enough(table: OutcomeTable) -> None:
    texts = ("Explain {} and more", "Who wrote {}?", "Is it {}?\nA. x\nB. y")
    prompts = np.array([[texts[n % 3].format(n)] * 2 for n in range(57)], dtype=object)
    few = table.take(np.arange(57))
    answers = np.array([[("Rome", "Rome", "A")[n % 3]] * 2 for n in range(57)], dtype=object)
    few = replace(few, columns=dict(few.columns) | {"prompt": prompts, "answer": answers})
    with pytest.raises(DataError, match="no form of prompt came 20 times"):
        calibrate(few)
