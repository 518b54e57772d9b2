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
from adaptive_sd.offline.replay.seen import seen_by
from adaptive_sd.offline.studies.ladders import add_vote, take_stages
from adaptive_sd.offline.studies.sets import evaluate_sets
from adaptive_sd.offline.studies.sweep import lams_of, sweep_lambda
from adaptive_sd.offline.studies.vote import count_votes
from adaptive_sd.offline.votes import record_votes
from adaptive_sd.stage import Stage
from adaptive_sd.styles import STEP_STYLES
from adaptive_sd.types import Rates
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
