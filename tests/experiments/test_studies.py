"""Studies of a recorded ladder: what they say is what the policy does on the table."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from adaptive_sd.artifact import Artifact, load_artifact, save_artifact
from adaptive_sd.data.graders import Graders
from adaptive_sd.data.outcomes import OutcomeTable, read_outcomes, write_outcomes
from adaptive_sd.decision.rollout import roll_out
from adaptive_sd.engines.fake import FakeEngine
from adaptive_sd.errors import DataError
from adaptive_sd.offline.export import export_recordings
from adaptive_sd.offline.fit import fit_artifact
from adaptive_sd.offline.recording import Recording
from adaptive_sd.offline.replay.dials import Dials
from adaptive_sd.offline.replay.measure import draw
from adaptive_sd.offline.replay.seen import seen_by
from adaptive_sd.offline.studies.ladders import add_vote, lead_at, take_stages
from adaptive_sd.offline.studies.sets import evaluate_sets
from adaptive_sd.offline.studies.sweep import lams_of, sweep_lambda
from adaptive_sd.offline.studies.vote import count_votes
from adaptive_sd.offline.votes import record_votes
from adaptive_sd.stage import Stage
from adaptive_sd.styles import STEP_STYLES
from adaptive_sd.types import Rates
from tests.decision.tables import table_of
from tests.ladder import is_right, make_recording, make_stages, make_tasks

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def load_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXPERIMENTS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """table.parquet with a split, votes.parquet of some of its prompts, and an artifact."""
    folder = tmp_path_factory.mktemp("study")
    fit, test = make_tasks(120), make_tasks(60, seed=1)
    make_recording(folder / "fit.sqlite", fit, make_stages(folder))
    make_recording(folder / "test.sqlite", test, make_stages(folder))
    table, stages, _ = export_recordings([folder / "fit.sqlite"], [folder / "test.sqlite"])
    write_outcomes(table, stages, folder / "table.parquet")
    save_artifact(fit_artifact(read_outcomes(folder / "table.parquet"))[0], folder / "artifact")

    def script(prompt: str) -> str:
        question, _, seed = prompt.rpartition(" vote ")
        numbers = question.partition("sum ")[2].split("?")[0].split(" + ")
        total = sum(map(int, numbers))
        skilled = "large" if int(seed) else "middle"
        return f"The answer is {total if is_right(skilled, question) else total + 1}"

    engine = FakeEngine("large", script, rates=Rates(0.01, 0.1, ((4, 0.2),)))
    stage = Stage("large", load=lambda: engine, rates_path=folder / "v.json", styles=STEP_STYLES)
    with Recording(folder / "votes.sqlite") as recording:
        voted = [*fit[:80], *test[:40]]
        record_votes(voted, stage, 3, recording, graders=Graders(), on_progress=lambda *_: None)
    votes, stages, _ = export_recordings([folder / "votes.sqlite"])
    write_outcomes(votes, stages, folder / "votes.parquet")
    return folder


@pytest.fixture(scope="module")
def table(folder: Path) -> OutcomeTable:
    return read_outcomes(folder / "table.parquet")


@pytest.fixture(scope="module")
def artifact(folder: Path) -> Artifact:
    return load_artifact(folder / "artifact")


def test_a_sweep_is_the_policy_followed(artifact: Artifact, table: OutcomeTable) -> None:
    seen = seen_by(artifact, table)
    lams = lams_of(artifact, 5)
    assert artifact.recommended_lam in lams
    for point in sweep_lambda(artifact, seen, lams):
        rolled = roll_out(artifact.policy, seen, point.lam)
        assert point.quality == pytest.approx(rolled.quality.mean())
        assert point.cost == pytest.approx(rolled.cost.mean())
        assert sum(point.answer_share) == pytest.approx(1)
        assert sum(point.run_share) == pytest.approx(rolled.num_run.mean())
        assert point.difference.low <= point.difference.value <= point.difference.high


def test_the_lambda_of_most_quality_is_named_with_those_not_shown_to_have_less(
    artifact: Artifact, table: OutcomeTable
) -> None:
    points = sweep_lambda(artifact, seen_by(artifact, table), lams_of(artifact, 8))
    best = max(points, key=lambda point: point.quality)
    assert best.behind_best == (0, 0, 0)
    for point in points:
        assert point.behind_best.value == pytest.approx(point.quality - best.quality)
    alike = [point for point in points if point.behind_best.high >= 0]
    assert len(alike) < len(points)
    (said,) = (s for s in load_script("lambda_sweep")._observe(points, points[0]) if "most" in s)
    assert f"at lambda {best.lam:.3g}:" in said
    assert f"{len(alike)} of {len(points)} lambdas, within {alike[0].lam:.3g} to" in said


def test_all_prompts_are_the_sum_of_the_sets(artifact: Artifact, table: OutcomeTable) -> None:
    names = np.where(np.arange(len(table.prompt_ids)) % 3 == 0, "third", "rest").astype(object)
    columns = {**table.columns, "dataset": np.repeat(names[:, None], 3, axis=1)}
    mixed = OutcomeTable(*(table.stages, table.prompt_ids, table.quality, table.cost, columns, 0))
    *sets, everything = evaluate_sets(artifact, mixed, artifact.recommended_lam)
    assert [s.name for s in sets] == ["rest", "third"] and everything.name == "all"
    assert sum(s.num_prompts for s in sets) == everything.num_prompts == len(table.prompt_ids)
    for value in ("quality", "cost"):
        total = sum(s.num_prompts * getattr(s.ladder, value) for s in sets)
        assert total / everything.num_prompts == pytest.approx(getattr(everything.ladder, value))
    for result in (*sets, everything):
        assert result.oracle_quality >= max(result.best[0], result.largest[0])


def test_a_shorter_ladder_keeps_its_stages_as_they_were(table: OutcomeTable) -> None:
    short = take_stages(table, ["small", "large"])
    assert [stage.name for stage in short.stages] == ["small", "large"]
    assert np.array_equal(short.quality, table.quality[:, [0, 2]])
    after = short.columns["cost_after_small"].astype(float)
    assert np.array_equal(
        after, table.columns["cost_after_small"][:, [0, 2]].astype(float), equal_nan=True
    )
    assert not any(name.endswith("_after_middle") for name in short.columns)
    with pytest.raises(DataError, match="no stage 'huge'"):
        take_stages(table, ["huge"])


def test_a_vote_becomes_the_last_stage(folder: Path, table: OutcomeTable) -> None:
    votes = read_outcomes(folder / "votes.parquet")
    for count in (1, 3):
        joined = add_vote(table, votes, count)
        assert set(joined.prompt_ids) == set(votes.prompt_ids) and len(joined.stages) == 4
        found = count_votes(votes, count)
        by_id = dict(zip(votes.prompt_ids, found.quality.tolist(), strict=True))
        assert joined.quality[:, 3].tolist() == [by_id[i] for i in joined.prompt_ids]
        place = {i: n for n, i in enumerate(table.prompt_ids)}
        rows = [place[i] for i in joined.prompt_ids]
        assert np.array_equal(joined.quality[:, :3], table.quality[rows])
    with pytest.raises(DataError, match="share no prompt"):
        add_vote(table.take(np.arange(0)), votes, 1)


@pytest.mark.parametrize("name", ["lambda_sweep", "evaluate_all"])
def test_studies_of_an_artifact_write_what_they_say(
    name: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--table", str(folder / "table.parquet"), "--artifact", str(folder / "artifact")]
    assert load_script(name).main([*options, "--out", str(tmp_path)]) == 0
    document = json.loads((tmp_path / f"{name}.json").read_text())
    assert document["stages"] == ["small", "middle", "large"]
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    (entry,) = (tmp_path / "log").glob(f"*-{name}.md")
    said = capsys.readouterr().out
    assert all(line in entry.read_text() for line in said.splitlines())


def test_ladders_of_two_to_four_stages_are_compared_on_the_same_prompts(
    folder: Path, tmp_path: Path
) -> None:
    options = ["--table", str(folder / "table.parquet"), "--votes", str(folder / "votes.parquet")]
    options += ["--bootstrap", "20", "--out", str(tmp_path)]
    assert load_script("four_stage").main(options) == 0
    document = json.loads((tmp_path / "four_stage.json").read_text())
    ladders = list(document["ladders"].values())
    assert [len(ladder["stages"]) for ladder in ladders] == [2, 3, 4]
    assert {ladder["num_prompts"] for ladder in ladders} == {40}
    assert document["cost_unit"] == pytest.approx(ladders[-1]["stages"][-2]["cost"])


def settings_of(*points: tuple[np.ndarray, float]) -> Dials:
    """Settings of a dial, each with its quality by prompt and its cost."""
    quality = np.stack([q for q, _ in points], axis=1)
    cost = np.broadcast_to([c for _, c in points], quality.shape)
    nothing = np.zeros(len(points))
    return Dials(tuple("abc"[: len(points)]), quality, cost, nothing, nothing, nothing)


def test_a_ladder_is_named_best_where_it_is_on_the_same_prompts() -> None:
    """One prompt in forty more is shown by the same prompts, and as much by luck is not."""
    rng = np.random.default_rng(0)
    hard = rng.random(300) < 0.5
    prompts = draw(table_of(hard[:, None].astype(float), np.ones(1)), 200, rng=rng)
    base = hard.astype(float)
    better = np.where(rng.random(300) < 0.05, 1.0, base)
    other = rng.permutation(base)

    def ladders(*qualities: np.ndarray) -> dict[str, Dials]:
        settings = [settings_of((q, 1.0), (q, 3.0)) for q in qualities]
        return dict(zip(("two", "three"), settings, strict=True))

    lead = lead_at(2.0, ladders(base, better), prompts)
    assert lead is not None and lead.name == "three" and lead.is_shown
    assert lead.over["two"].value == pytest.approx((better - base).mean())
    by_luck = lead_at(2.0, ladders(base, other + 0.02), prompts)
    assert by_luck is not None and by_luck.name == "three" and not by_luck.is_shown
    assert lead_at(0.5, ladders(base, better), prompts) is None
    observe = load_script("four_stage")._observe
    assert [line.split(":")[0] for line in observe(ladders(base, better), prompts, 2.0)] == [
        f"at {budget:g} of the unit three is the best ladder" for budget in (0.5, 0.75, 1.0, 1.5)
    ]
    assert "is not shown to be" in observe(ladders(base, other + 0.02), prompts, 2.0)[0]


def test_what_cannot_be_studied_is_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = ["--table", str(tmp_path / "none.parquet"), "--out", str(tmp_path)]
    for name in ("lambda_sweep", "evaluate_all", "four_stage"):
        assert load_script(name).main(missing) == 1
        assert capsys.readouterr().err.startswith("error: ")


def without(table: OutcomeTable, name: str) -> OutcomeTable:
    return replace(table, columns={n: c for n, c in table.columns.items() if n != name})


def test_a_column_that_a_study_needs_is_named(
    folder: Path, artifact: Artifact, table: OutcomeTable
) -> None:
    votes = read_outcomes(folder / "votes.parquet")
    for name in ("prompt", "answer", "tokens_out"):
        with pytest.raises(DataError, match=f"no column '{name}'"):
            count_votes(without(votes, name), 2)
    counts = votes.columns["tokens_out"].copy()
    counts[2, 1] = np.nan
    with pytest.raises(DataError, match=f"tokens_out of '{votes.prompt_ids[2]}' at .* is empty"):
        count_votes(replace(votes, columns={**votes.columns, "tokens_out": counts}), 2)
    with pytest.raises(DataError, match="no column 'dataset'"):
        evaluate_sets(artifact, without(table, "dataset"), artifact.recommended_lam)
