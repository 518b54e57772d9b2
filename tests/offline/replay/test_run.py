"""A whole replay: its document, what it refuses, and that the test half chooses nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive_sd.cli import run as run_command
from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.errors import ConfigError
from adaptive_sd.offline.replay.contest import POLICIES
from adaptive_sd.offline.replay.measure import areas, draw, interval
from adaptive_sd.offline.replay.run import replay
from tests.ladder import make_table, make_tasks
from tests.offline.replay.halves import contest_of, wild_halves, with_test_quality

NAMES = "single_stages, random, threshold_chain, best_pair, frugal, agreement, router, " + (
    "cascade_routing, known_p, adaptive, oracle"
)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> OutcomeTable:
    return make_table(tmp_path_factory.mktemp("replay"), make_tasks(120, seed=5))


@pytest.fixture(scope="module")
def document(table: OutcomeTable) -> dict:  # type: ignore[type-arg]
    return replay(table, num_resamples=50).to_json("t.parquet")


def test_the_document_has_what_is_promised(document: dict, table: OutcomeTable) -> None:  # type: ignore[type-arg]
    assert ", ".join(document["policies"]) == ", ".join(POLICIES) == NAMES
    assert document["table"] == "t.parquet" and document["num_prompts"] == 60
    assert [s["stage"] for s in document["stages"]] == [s.name for s in table.stages]
    for name, policy in document["policies"].items():
        assert {"area", "area_ci", "cost@95", "cost@98", "cost@100", "cost@98_fit"} <= set(policy)
        low, high = policy["area_ci"]
        assert low <= high
        assert 1 <= len(policy["points"]) <= 40
        for point in policy["points"]:
            assert list(point) == ["dial", "cost", "quality", "escalation_rate"]
        assert (policy["paired"] is None) == (name == "best_pair")
    assert document["policies"]["adaptive"]["paired"]["vs"] == "best_pair"
    for predictor in document["predictors"]:
        assert list(predictor) == ["stage", "auc", "auc_ci", "ece", "ece_ci", "brier"]
    assert document["artifact"] is None and "seeds" not in document
    json.dumps(document, allow_nan=False)


def test_the_points_give_the_costs_at_a_target(document: dict) -> None:  # type: ignore[type-arg]
    best = max(document["stages"], key=lambda stage: stage["quality"])
    for policy in document["policies"].values():
        enough = [p["cost"] for p in policy["points"] if p["quality"] >= 0.98 * best["quality"]]
        expected = min(enough) / best["cost"] if enough else None
        assert policy["cost@98"] == (None if expected is None else pytest.approx(expected))
        chosen = [p for p in policy["points"] if p["dial"] == policy["dial@98_fit"]]
        if policy["cost@98_fit"] is not None:
            assert policy["cost@98_fit"] == pytest.approx(chosen[0]["cost"] / best["cost"])


def test_the_oracle_beats_and_single_stages_lose(document: dict) -> None:  # type: ignore[type-arg]
    area = {name: policy["area"] for name, policy in document["policies"].items()}
    assert area["oracle"] > area["adaptive"] > area["single_stages"]


@pytest.mark.parametrize("name", [n for n in POLICIES if n not in ("oracle", "adaptive", "random")])
@given(st.integers(0, 10_000))
@settings(max_examples=5, deadline=None)
def test_the_oracle_has_the_most_area(name: str, seed: int) -> None:
    """Costs of verification aside, which the oracle never has."""
    contest = contest_of(wild_halves(12, 2, seed=seed, verified=False), seed)
    prompts = draw(contest.halves.test, 5, rng=contest.rng(0))
    best = areas(contest.dials("oracle"), prompts)[0]
    assert best >= areas(contest.dials(name), prompts)[0] - 1e-9
    assert best >= areas(contest.dials("adaptive"), prompts)[0] - 1e-9


@pytest.mark.parametrize("name", [n for n in POLICIES if n != "oracle"])
def test_the_outcomes_of_the_test_half_choose_nothing(name: str) -> None:
    halves = wild_halves(40, 3, seed=7)
    shuffled = np.random.default_rng(0).permutation(halves.test.quality)
    before = contest_of(halves).dials(name)
    after = contest_of(with_test_quality(halves, shuffled)).dials(name)
    assert before.labels == after.labels
    np.testing.assert_array_equal(before.cost, after.cost)
    np.testing.assert_array_equal(before.escalation_rate, after.escalation_rate)
    np.testing.assert_array_equal(before.fit_quality, after.fit_quality)
    np.testing.assert_array_equal(before.fit_cost, after.fit_cost)
    assert not np.array_equal(before.quality, after.quality)


def test_resamples_are_those_of_the_seed_and_hulls_are_made_anew() -> None:
    contest = contest_of(wild_halves(50, 3, seed=1))
    dials, test = contest.dials("best_pair"), contest.halves.test
    one, same, other = (draw(test, 20, rng=np.random.default_rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(areas(dials, one), areas(dials, same))
    assert not np.array_equal(areas(dials, one)[1:], areas(dials, other)[1:])
    rows = np.repeat(np.arange(50), np.rint(one.weights[0] * 50).astype(int))
    drawn = draw(test.take(rows), 0, rng=np.random.default_rng(0))
    of_rows = replace(dials, quality=dials.quality[rows], cost=dials.cost[rows])
    assert areas(of_rows, drawn)[0] == pytest.approx(areas(dials, one)[1])


def test_prompts_of_one_text_are_drawn_together_and_others_as_ever() -> None:
    table = wild_halves(60, 2, seed=1).test
    alone, own, same = (
        draw(replace(table, group=group), 30, rng=np.random.default_rng(3))
        for group in (None, np.arange(60) + 5, np.arange(60) // 4)
    )
    for one, other in zip(alone, own, strict=True):
        np.testing.assert_array_equal(one, other)
    assert same.group.tolist() == (np.arange(60) // 4).tolist()
    assert same.weights.shape == (30, 15)
    np.testing.assert_allclose(same.weights @ np.bincount(same.group), 1.0)


def test_an_interval_without_resamples_is_the_value() -> None:
    assert interval(np.array([0.5])) == (0.5, 0.5, 0.5)


def test_the_same_seed_gives_the_same_and_others_show_the_spread(
    table: OutcomeTable,
    document: dict,  # type: ignore[type-arg]
) -> None:
    some = ["router", "cascade_routing", "adaptive"]
    report = replay(table, policies=some, num_seeds=2, num_resamples=50)
    again = json.loads(json.dumps(report.to_json("t.parquet")))
    assert list(again["policies"]) == some
    for name in some:
        assert again["policies"][name] == document["policies"][name]
        areas = again["seeds"][name]["areas"]
        assert areas[0] == document["policies"][name]["area"] and len(areas) == 2
        assert again["seeds"][name]["area_mean"] == pytest.approx(np.mean(areas))
        assert again["seeds"][name]["area_sd"] == pytest.approx(np.std(areas, ddof=1))
    assert len({tuple(seed["areas"]) for seed in again["seeds"].values()}) == 3
    assert any(line.startswith("adaptive: area") for line in report.notes())


def test_an_unknown_policy_is_refused(table: OutcomeTable) -> None:
    with pytest.raises(ConfigError, match="no policy 'adaptve'; known: single_stages, random"):
        replay(table, policies=["adaptve"])


def test_the_command_prints_a_table_or_one_document(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the required columns of one stage alone, in a CSV file."""
    rows = [f"{n},one,0,{n % 3 // 2},1.5" for n in range(120)]
    path = tmp_path / "table.csv"
    path.write_text("\n".join(["prompt_id,stage,stage_index,quality,cost", *rows]))
    common = ["replay", str(path), "--policies", "best_pair, adaptive", "--bootstrap", "20"]
    assert run_command(common) == 0
    captured = capsys.readouterr()
    printed = captured.out.splitlines()
    assert printed[0].split("  ")[0] == "policy" and printed[2].startswith("adaptive")
    warning, note = captured.err.splitlines()
    assert warning.startswith("warning: the table has no evidence of drafts")
    assert len(printed) == 3 and note.startswith("60 prompts to test on, 60 to fit on")
    assert run_command([*common, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["table"] == str(path) and document["split"] == "seeded halves"
    assert document["policies"]["adaptive"]["paired"]["area_gain"] == 0.0


def test_a_missing_table_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["replay", str(tmp_path / "none.parquet")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
