"""Replay with an artifact: measured on prompts that it never saw, chosen before or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adaptive_sd.artifact import Artifact
from adaptive_sd.cli import run as run_command
from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.errors import DataError
from adaptive_sd.offline.fit import data_hash, fit_part
from adaptive_sd.offline.prompts import prompt_hashes
from adaptive_sd.offline.replay.adaptive import run_adaptive
from adaptive_sd.offline.replay.chains import best_pair
from adaptive_sd.offline.replay.curve import Scale, area
from adaptive_sd.offline.replay.halves import fit_halves, halves_of, split
from adaptive_sd.offline.replay.measure import means
from adaptive_sd.offline.replay.report import ReplayReport
from adaptive_sd.offline.replay.run import replay
from adaptive_sd.offline.replay.seen import find_overlap, seen_by, unread
from tests.ladder import make_table, make_tasks
from tests.offline.replay.halves import wild_halves

SOME = ("best_pair", "adaptive", "random")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> OutcomeTable:
    return make_table(tmp_path_factory.mktemp("replay"), make_tasks(140, seed=5))


def with_split(table: OutcomeTable, num_fit: int) -> OutcomeTable:
    """The first `num_fit` prompts are to fit on."""
    halves = np.where(np.arange(len(table.prompt_ids)) < num_fit, "fit", "test").astype(object)
    column = np.repeat(halves[:, None], len(table.stages), axis=1)
    return replace(table, columns={**table.columns, "split": column})


@pytest.fixture(scope="module")
def own_table(table: OutcomeTable) -> OutcomeTable:
    """The last two of the prompts to test on were fitted on too."""
    own = with_split(table, 80)
    texts = own.columns["prompt"].copy()
    texts[-2:] = texts[:2]
    return replace(own, columns={**own.columns, "prompt": texts})


def as_if_fitted_on(table: OutcomeTable, artifact: Artifact) -> Artifact:
    """What an artifact keeps of the table that it was fitted on."""
    part = fit_part(table)
    hashes = tuple(sorted({*prompt_hashes(part)} - {""}))
    return replace(artifact, prompt_hashes=hashes, data_hash=data_hash(part))


@pytest.fixture(scope="module")
def own(own_table: OutcomeTable, artifact: Artifact) -> Artifact:
    return as_if_fitted_on(own_table, artifact)


@pytest.fixture(scope="module")
def on_own(own_table: OutcomeTable, own: Artifact) -> ReplayReport:
    return replay(own_table, policies=SOME, artifact=own, num_resamples=20)


def area_on(artifact: Artifact, table: OutcomeTable, lams: list[float]) -> float:
    """Of single stages and these lambdas, all prompts of the table alike."""
    runs = run_adaptive(artifact.policy, seen_by(artifact, table), lams)
    points = [run.mean for run in runs] + list(
        zip(table.cost.mean(axis=0), table.quality.mean(axis=0), strict=True)
    )
    scale = Scale.of(table.cost.mean(axis=0), table.quality.mean(axis=0))
    return area(*np.array(points).T, scale)


def test_an_artifact_is_measured_on_the_test_half(table: OutcomeTable, artifact: Artifact) -> None:
    """And best_pair chooses by its estimates."""
    report = replay(table, policies=SOME, artifact=artifact, num_resamples=20)
    parts = split(table, seed=0)
    ours, pair = report.policies["adaptive"], report.policies["best_pair"]
    lams = [point.dial for point in ours.points if isinstance(point.dial, float)]
    assert ours.area.value == pytest.approx(area_on(artifact, table.take(parts.test), lams))
    assert ours.gain is not None
    assert ours.gain.value == pytest.approx(ours.area.value - pair.area.value)
    by_its_estimates = best_pair(halves_of(table, parts, seen_by(artifact, table)))
    assert [point.cost for point in pair.points] == means(by_its_estimates.cost).tolist()
    document = report.to_json("t")["artifact"]
    assert isinstance(document, dict)
    assert document["num_prompts"] == len(parts.test) and document["overlap_checked"]
    assert document["num_left_out"] == 0


def test_the_setting_for_98_percent_is_chosen_on_the_fit_half(
    table: OutcomeTable, artifact: Artifact
) -> None:
    """Not the lambda that the artifact recommends for another share."""
    report = replay(table, policies=["adaptive"], artifact=artifact, num_resamples=2)
    parts = split(table, seed=0)
    fit, test = table.take(parts.fit), table.take(parts.test)
    points = report.policies["adaptive"].points
    lams = [point.dial for point in points if isinstance(point.dial, float)]
    runs = [run.mean for run in run_adaptive(artifact.policy, seen_by(artifact, fit), lams)]
    seen = [*zip(fit.cost.mean(axis=0), fit.quality.mean(axis=0), strict=True), *runs]
    best = fit.quality.mean(axis=0).max()
    cheapest = min(range(len(seen)), key=lambda n: (seen[n][1] < 0.98 * best, seen[n][0]))
    chosen = report.policies["adaptive"].chosen
    assert chosen is not None and chosen.dial == points[cheapest].dial
    assert chosen.dial != artifact.recommended_lam
    largest = test.quality.mean(axis=0).argmax()
    assert chosen.cost == pytest.approx(points[cheapest].cost / test.cost.mean(axis=0)[largest])


def test_ones_own_artifact_is_measured_on_the_prompts_to_test_on_that_it_did_not_see(
    on_own: ReplayReport, own_table: OutcomeTable, own: Artifact
) -> None:
    assert (on_own.num_fit, on_own.num_test) == (80, 58)
    ours = on_own.policies["adaptive"]
    lams = [point.dial for point in ours.points if isinstance(point.dial, float)]
    test = own_table.take(np.arange(80, 138))
    assert ours.area.value == pytest.approx(area_on(own, test, lams))
    assert "2 prompts to test on left out: the artifact was fitted on them" in on_own.notes()


def test_what_an_artifact_does_to_prompts_it_was_fitted_on_chooses_nothing(
    on_own: ReplayReport, own_table: OutcomeTable
) -> None:
    """The others choose by estimates out of fold, as without an artifact."""
    assert on_own.policies["adaptive"].chosen is on_own.policies["random"].chosen is None
    parts = replace(split(own_table, seed=0), test=np.arange(80, 138))
    pair = best_pair(fit_halves(own_table, parts, rng=np.random.default_rng(0)))
    found = on_own.policies["best_pair"]
    assert [point.cost for point in found.points] == means(pair.cost).tolist()
    assert found.chosen is not None
    assert any("cannot be told" in note for note in on_own.notes())


@pytest.mark.parametrize("stage", [None, "large"])
def test_estimates_of_agreement_are_called_that(
    table: OutcomeTable, artifact: Artifact, stage: str | None
) -> None:
    own = replace(artifact, agreement_with=stage)
    report = replay(table, policies=["single_stages"], artifact=own, num_resamples=2)
    assert ("of agreement with large" in " ".join(report.notes())) is (stage is not None)
    document = report.to_json("t")["artifact"]
    assert isinstance(document, dict) and document["agreement_with"] == stage


def test_a_table_without_texts_is_known_by_its_outcomes(
    own_table: OutcomeTable, artifact: Artifact
) -> None:
    bare = replace(own_table, columns={"split": own_table.columns["split"]})
    overlap = find_overlap(as_if_fitted_on(bare, artifact), bare)
    assert overlap.was_fitted_on.tolist() == [True] * 80 + [False] * 60
    assert overlap.measurable.tolist() == list(range(80, 140)) and overlap.checked


def test_prompts_that_an_artifact_was_fitted_on_are_refused(
    artifact: Artifact, tmp_path: Path
) -> None:
    mixed = make_table(tmp_path, [*make_tasks(3, seed=0), *make_tasks(60, seed=6)])
    with pytest.raises(DataError, match="3 of 63 prompts of the table to measure on are among"):
        replay(mixed, artifact=artifact)
    assert find_overlap(artifact, with_split(mixed, 50)).measurable.tolist() == list(range(50, 63))


def test_an_artifact_that_was_fitted_on_all_of_the_table_is_refused(
    own_table: OutcomeTable, artifact: Artifact
) -> None:
    whole = replace(own_table, columns={})
    with pytest.raises(DataError, match=r"140 of 140 prompts .* or leave out --artifact"):
        replay(whole, artifact=as_if_fitted_on(whole, artifact))


def test_an_artifact_of_another_ladder_is_refused(artifact: Artifact) -> None:
    other = wild_halves(60, 2).fit_outcomes
    with pytest.raises(DataError, match="fitted for small, middle, large; the table has small, mi"):
        replay(other, artifact=artifact)


@pytest.mark.parametrize("what", ["model_hash", "styles"])
def test_an_artifact_of_other_models_or_styles_of_these_names_is_refused(
    table: OutcomeTable, artifact: Artifact, what: str
) -> None:
    """Where both sides tell: tables of others do not."""
    ours = table.stages[1]
    other = {"model_hash": "1" * 64, "styles": {**ours.styles, "choice": "other"}}
    for values, is_refused in (
        ({what: other[what]}, True),
        ({"model_hash": "", "styles": {}}, False),
    ):
        stage = replace(ours, **values)  # type: ignore[arg-type]
        changed = replace(table, stages=(table.stages[0], stage, table.stages[2]))
        if not is_refused:
            assert len(find_overlap(artifact, changed).measurable) == 140
            continue
        with pytest.raises(DataError, match=r"middle: the artifact is fitted for other .* than"):
            find_overlap(artifact, changed)


def test_what_a_replay_does_not_read_changes_nothing(
    table: OutcomeTable, artifact: Artifact
) -> None:
    """With hidden states in the artifact, and without."""
    blind = replace(artifact, projections=(None,) * 3)
    assert "hidden" in unread(blind) and "hidden" not in {*unread(artifact), *unread(None)}
    for fitted in (artifact, blind):
        kept = {n: c for n, c in table.columns.items() if not n.startswith(unread(fitted))}
        assert "token_ids" in table.columns.keys() - kept.keys()
        whole, read = (
            replay(t, policies=SOME, artifact=fitted, num_resamples=5).to_json("t")
            for t in (table, replace(table, columns=kept))
        )
        assert whole == read


def test_copies_of_all_prompts_change_no_number(table: OutcomeTable, artifact: Artifact) -> None:
    """And no interval."""
    rows = np.repeat(np.arange(140), 3)
    ids = tuple(f"{table.prompt_ids[row]}, {n}" for n, row in enumerate(rows))
    copied = replace(table.take(rows), prompt_ids=ids)
    once, thrice = (
        replay(t, policies=["adaptive"], artifact=artifact, num_resamples=20)
        for t in (table, copied)
    )
    assert thrice.num_test == 3 * once.num_test and thrice.num_shared == 0
    for one, other in zip(once.predictors, thrice.predictors, strict=True):
        assert other.auc == pytest.approx(one.auc) and other.ece == pytest.approx(one.ece)
    assert thrice.policies["adaptive"].area == pytest.approx(once.policies["adaptive"].area)


def test_fit_and_then_replay_of_one_table_is_two_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was left out is told on stderr."""
    rows = [
        f"{n},one,0,{n % 3 // 2},1.5,{'fit' if n < 60 else 'test'},question {n % 99}"
        for n in range(100)
    ]
    header = "prompt_id,stage,stage_index,quality,cost,split,prompt"
    path = tmp_path / "table.csv"
    path.write_text("\n".join([header, *rows]))
    assert run_command(["fit", str(path), "--out", str(tmp_path / "artifact")]) == 0
    command = ["replay", str(path), "--artifact", str(tmp_path / "artifact")]
    capsys.readouterr()
    assert run_command([*command, "--policies", "adaptive", "--bootstrap", "5"]) == 0
    said = capsys.readouterr().err
    assert "39 prompts to test on, 60 to fit on (its own column)" in said
    assert "1 prompts to test on left out: the artifact was fitted on them" in said
