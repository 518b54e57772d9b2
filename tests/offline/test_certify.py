"""A fit with a promise: prompts set aside show it, and whoever asks for it gets that dial."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adaptive_sd.artifact import load_artifact, save_artifact
from adaptive_sd.cascade import Cascade, Request
from adaptive_sd.cli import run
from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.claims import FastEnough, KeptQuality, MeanCost
from adaptive_sd.decision.rollout import roll_out
from adaptive_sd.errors import DataError
from adaptive_sd.forms import Form
from adaptive_sd.judge import FittedJudge
from adaptive_sd.offline.answers import prompt_views
from adaptive_sd.offline.certify import (
    MIN_CERTIFIED,
    TARGETS,
    CertifiedFit,
    fit_certified,
    set_aside,
)
from adaptive_sd.offline.prompts import prompt_hashes
from adaptive_sd.offline.replay.halves import see
from adaptive_sd.offline.trials import most_cost
from adaptive_sd.stage import Stage
from adaptive_sd.stage_record import StageRecord
from adaptive_sd.types import Rates
from tests.ladder import make_stages, make_table, make_tasks


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certify")


@pytest.fixture(scope="module")
def table(folder: Path) -> OutcomeTable:
    return make_table(folder, make_tasks(240, seed=3))


@pytest.fixture(scope="module")
def certified(table: OutcomeTable) -> CertifiedFit:
    return fit_certified(table, KeptQuality(0.8), confidence=0.95)


def bare_table(num_prompts: int, seed: int = 0) -> OutcomeTable:
    """Somebody else's table: required columns only; the second stage is much better."""
    rng = np.random.default_rng(seed)
    return OutcomeTable(
        stages=(StageRecord("a"), StageRecord("b")),
        prompt_ids=tuple(f"p{i}" for i in range(num_prompts)),
        quality=(rng.random((num_prompts, 2)) < [0.5, 0.9]).astype(float),
        cost=np.tile([1.0, 4.0], (num_prompts, 1)),
        columns={},
        num_left_out=0,
    )


def test_the_prompts_set_aside_are_three_in_ten_and_are_not_fitted_on(table: OutcomeTable) -> None:
    used, aside = set_aside(table, seed=0)
    assert len(aside.prompt_ids) == 72 and len(used.prompt_ids) == 168
    assert {*used.prompt_ids} | {*aside.prompt_ids} == {*table.prompt_ids}
    assert list(aside.prompt_ids) != sorted(aside.prompt_ids)
    assert set_aside(table, seed=0)[1].prompt_ids == aside.prompt_ids
    assert set_aside(table, seed=1)[1].prompt_ids != aside.prompt_ids


def test_equal_texts_are_never_on_both_sides_and_show_as_much_as_one() -> None:
    texts = np.array([[f"question {n % 40}"] * 2 for n in range(100)], dtype=object)
    used, aside = set_aside(replace(bare_table(100), columns={"prompt": texts}), seed=0)
    assert not {*prompt_hashes(used)} & {*prompt_hashes(aside)}
    assert len(aside.prompt_ids) == len({*prompt_hashes(aside)}) == 12


def test_the_report_is_of_the_prompts_fitted_on_and_the_hashes_of_all(
    certified: CertifiedFit, table: OutcomeTable
) -> None:
    assert certified.report.num_prompts == 168
    assert certified.promise.certificates.num_prompts == 72
    assert certified.artifact.prompt_hashes == tuple(sorted(prompt_hashes(table)))


def test_every_certified_dial_kept_its_bound_on_the_prompts_set_aside(
    certified: CertifiedFit, table: OutcomeTable
) -> None:
    _, aside = set_aside(table, seed=0)
    artifact = certified.artifact
    seen = see(aside, artifact.predictors, artifact.projections)
    known = artifact.certificates
    assert known is not None and known.qualities and known.budgets
    assert {c.bound for c in known.qualities} <= {target.bound for target in TARGETS}
    best = aside.quality.mean(axis=0).max()
    for bound, lam in known.qualities:
        assert roll_out(artifact.policy, seen, lam).quality.mean() >= bound * best - 1e-12
    for bound, lam in known.budgets:
        assert roll_out(artifact.policy, seen, lam).cost.mean() < bound
    for rows in (known.qualities, known.budgets):
        assert list(rows) == sorted(rows)


def test_the_promise_becomes_the_recommended_lambda(certified: CertifiedFit) -> None:
    artifact, promise = certified.artifact, certified.promise
    known = artifact.certificates
    assert known is not None
    assert artifact.recommended_lam == promise.lam == known.for_quality(0.8).lam
    assert "0.8 of the best single stage's quality" in artifact.lam_origin
    assert "72 prompts set aside" in artifact.lam_origin
    assert f"can be certified: {known.highest}" in promise.as_text()
    assert list(promise.prices) == [c.bound for c in known.qualities]
    assert promise.prices[0.8] == promise.cost_share
    assert f"0.8 at {promise.cost_share:.2f}" in promise.as_text()


def test_the_safest_dial_is_always_the_best_stage_live_and_saved(
    certified: CertifiedFit, folder: Path
) -> None:
    save_artifact(certified.artifact, folder / "artifact")
    artifact = load_artifact(folder / "artifact")
    assert artifact.certificates == certified.artifact.certificates
    lam = float(artifact.policy.lam_grid[-1])
    cascade = Cascade(make_stages(folder), FittedJudge(artifact))
    for task in make_tasks(20, seed=9):
        answer = cascade.answer(task.prompt, Request(lam=lam))
        assert answer.stage == "large"
        assert [step.tokens_out > 0 for step in answer.trace] == [False, False, True]
    known = artifact.certificates
    assert known is not None
    told = cascade.lam_origin(known.qualities[-1].lam)
    assert f"{known.highest} of the best single stage's quality" in told


def test_where_only_always_the_best_stage_will_do_the_report_is_of_that() -> None:
    table = bare_table(300)
    found = fit_certified(table, KeptQuality(1.0), confidence=0.95)
    assert found.promise.cost_share == 1.0 and found.report.cost == 4.0
    assert found.artifact.recommended_lam == found.artifact.policy.lam_grid[-1]
    assert found.report.quality == found.report.stages[1].quality


def test_a_fit_with_a_promise_is_that_of_the_seed() -> None:
    one, same, other = (
        fit_certified(bare_table(200), KeptQuality(0.9), confidence=0.95, seed=seed)
        for seed in (1, 1, 2)
    )
    assert one.promise == same.promise and one.artifact.metrics == same.artifact.metrics
    assert one.artifact.metrics != other.artifact.metrics


def test_prompts_to_test_on_have_no_say() -> None:
    table = bare_table(300)
    split = np.where(np.arange(300)[:, None] < 200, "fit", "test").repeat(2, axis=1).astype(object)
    marked, alone = (
        fit_certified(t, KeptQuality(0.9), confidence=0.95)
        for t in (replace(table, columns={"split": split}), table.take(np.arange(200)))
    )
    assert marked.promise == alone.promise
    assert marked.artifact.data_hash == alone.artifact.data_hash


def test_what_few_prompts_cannot_show_is_refused_with_what_it_would_take() -> None:
    """Two stages that are almost as good as each other."""
    table = bare_table(200)
    quality = (np.random.default_rng(0).random((200, 2)) < [0.88, 0.9]).astype(float)
    with pytest.raises(DataError, match=r"about [\d,]+ graded prompts") as refused:
        fit_certified(replace(table, quality=quality), KeptQuality(0.99), confidence=0.95)
    assert "quality that can be certified: 0." in str(refused.value)
    needed = re.search(r"about ([\d,]+) graded", str(refused.value))
    assert needed is not None and int(needed[1].replace(",", "")) >= 400  # 200 did not show it


def test_a_budget_below_the_cheapest_is_refused_and_one_above_the_dearest_buys_the_best() -> None:
    with pytest.raises(DataError, match="no number of prompts like these") as refused:
        fit_certified(bare_table(300), MeanCost(0.9), confidence=0.95)
    assert "the least mean cost: 1." in str(refused.value)
    found = fit_certified(bare_table(300), MeanCost(5.0), confidence=0.95)
    assert found.promise.cost_share == 1.0 and found.promise.next_share is None


def test_the_most_that_a_prompt_can_cost_is_that_of_all_stages_or_given() -> None:
    table = bare_table(100)
    assert most_cost(table, None) == 5.0
    verified = np.tile([np.nan, 6.0], (100, 1))
    for name in ("cost_after_a", "cost_after_a@16"):
        assert most_cost(replace(table, columns={name: verified}), None) == 7.0
    assert most_cost(table, 9.0) == 9.0
    with pytest.raises(DataError, match=r"given as 4\.5, but"):
        most_cost(table, 4.5)


def test_latency_is_a_column_or_a_cost_in_seconds_or_unknown() -> None:
    bare = bare_table(250)
    with pytest.raises(DataError, match="no whole column 'latency_s'"):
        fit_certified(bare, FastEnough(5.0), confidence=0.95)
    timed = replace(bare, columns={"latency_s": 2 * bare.cost})
    fast = fit_certified(timed, FastEnough(2.5), confidence=0.95)
    assert fast.promise.cost_share == 0.25 and fast.promise.next_share == 1.0
    rated = replace(bare, stages=tuple(replace(s, rates=Rates(1, 1)) for s in bare.stages))
    assert fit_certified(rated, FastEnough(4.5), confidence=0.95).promise.cost_share == 1.0


def test_too_few_prompts_are_refused() -> None:
    with pytest.raises(DataError, match=f"needs at least {MIN_CERTIFIED}"):
        fit_certified(bare_table(MIN_CERTIFIED - 1), KeptQuality(0.5), confidence=0.95)


def test_on_prompts_of_a_form_that_is_hardly_known_nothing_rests() -> None:
    """Half of the rare ones would be set aside; live the largest stage answers them."""
    texts = ["Tell me a story."] * 240 + ["What is the capital of Peru?"] * 10
    each = [[f"{n}: {text}"] * 2 for n, text in enumerate(texts)]
    table = replace(bare_table(250), columns={"prompt": np.array(each, dtype=object)})
    _, aside = set_aside(table, seed=0)
    known = [prompt for prompt in prompt_views(aside) if prompt.form is Form.OPEN]
    assert len(known) < len(aside.prompt_ids)
    found = fit_certified(table, KeptQuality(0.5), confidence=0.95)
    assert found.promise.certificates.num_prompts == len(known)


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Of 120 prompts and two stages, the second of which is always right."""
    lines = ["prompt_id,stage,stage_index,quality,cost"]
    for n in range(120):
        lines += [f"{n},a,0,{n % 2},1", f"{n},b,1,1,4"]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    return str(tmp_path / "table.csv")


def test_the_command_prints_the_promise_or_refuses_in_one_line(
    path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "artifact"
    assert run(["fit", path, "--out", str(out), "--target-quality", "0.975", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["promise"]["claim"] == "0.975 of the best single stage's quality"
    assert document["promise"]["confidence"] == 0.95
    assert document["recommended_lambda"] == document["promise"]["lambda"]
    assert load_artifact(out).certificates is not None
    assert run(["fit", path, "--out", str(tmp_path / "refused"), "--budget", "0.5"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert "can be certified: 1;" in captured.err and not (tmp_path / "refused").exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--target-quality", "0.9", "--budget", "3"],
        ["--budget", "3", "--slo-p95", "3"],
        ["--target-quality", "1.1"],
        ["--confidence", "0.9"],
        ["--max-cost", "9"],
    ],
)
def test_promises_that_cannot_be_asked_for_are_bad_usage(
    options: list[str], path: str, tmp_path: Path
) -> None:
    assert run(["fit", path, "--out", str(tmp_path / "a"), *options]) == 2
    assert not (tmp_path / "a").exists()


def test_an_answer_goes_by_the_dial_that_was_certified_or_is_refused(
    tiny_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ADAPTIVE_SD_HOME", str(tmp_path / "home"))
    both = bare_table(80)
    one = replace(both, stages=both.stages[:1], quality=both.quality[:, :1], cost=both.cost[:, :1])
    fitted = fit_certified(one, KeptQuality(0.9), confidence=0.95).artifact
    stage = Stage(str(tiny_path), name="a")
    record = StageRecord("a", "", stage.model_hash, stage.style_names(), Rates(0.001, 0.01))
    save_artifact(replace(fitted, stages=(record,)), tmp_path / "artifact")
    (tmp_path / "ladder.toml").write_text(
        f'artifact = "{tmp_path / "artifact"}"\n'
        f'[[stage]]\nname = "a"\nmodel = "{tiny_path}"\ncontext = 512\n'
    )
    asked = ["answer", "Tell me a story.", "--config", str(tmp_path / "ladder.toml"), "--json"]
    asked += ["--max-tokens", "8", "--explain"]
    known = fitted.certificates
    assert known is not None
    for option, bound in (("--target-quality", 0.985), ("--budget", 3.0)):
        assert run([*asked, option, str(bound)]) == 0
        out, err = capsys.readouterr()
        assert json.loads(out)["lambda"] == known.qualities[-1].lam == known.budgets[-1].lam
        assert "0.9 of the best single stage's quality; shown by 24 prompts set aside" in err
    assert run([*asked, "--budget", "0.5"]) == 1
    assert "a mean cost of 0.5 is not certified" in capsys.readouterr().err
