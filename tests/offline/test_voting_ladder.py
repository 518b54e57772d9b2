"""A ladder with voting stages from recording to replay: what is told is what a live run costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adaptive_sd.build import fits_ladder
from adaptive_sd.cascade import Cascade, Request
from adaptive_sd.data.outcomes import OutcomeTable, read_outcomes, write_outcomes
from adaptive_sd.decision.features import STATISTIC_NAMES, DraftView, PromptView
from adaptive_sd.decision.rollout import roll_out
from adaptive_sd.forms import detect_form
from adaptive_sd.judge import FittedJudge, cost_of
from adaptive_sd.offline.costs import at_rates
from adaptive_sd.offline.evidence import fit_projections, read_evidence
from adaptive_sd.offline.export import export_recordings
from adaptive_sd.offline.fit import fit_artifact
from adaptive_sd.offline.recording import Recording
from adaptive_sd.offline.replay.seen import seen_by
from adaptive_sd.stage import Stage
from adaptive_sd.types import Draft, Rates, Sampling
from tests.ladder import RATES as SMALLER
from tests.ladder import make_recording, make_tasks
from tests.voting import RATES, VOTES, make_voting_stages

NAMES = ["small", *VOTES]


def make_table(folder: Path, num_prompts: int, stages: list[Stage], seed: int = 0) -> OutcomeTable:
    folder.mkdir(exist_ok=True)
    make_recording(folder / "r.sqlite", make_tasks(num_prompts, seed=seed), stages)
    table, described, _ = export_recordings([folder / "r.sqlite"])
    write_outcomes(table, described, folder / "table.parquet")
    return read_outcomes(folder / "table.parquet")


def answer(stage: Stage, prompt: str, earlier: Draft | None = None) -> Draft:
    offer = None if earlier is None else earlier.offer
    return stage.run(prompt, Sampling(stage.token_limit(prompt, detect_form(prompt))), draft=offer)


def test_costs_are_those_of_live_answers_after_any_earlier_stage(tmp_path: Path) -> None:
    num_prompts = 20
    table = make_table(tmp_path, num_prompts, make_voting_stages(tmp_path))
    evidence = read_evidence(table, fit_projections(table))
    share = evidence.features[:, :, STATISTIC_NAMES.index("vote_share")]
    assert np.unique(share[:, 3]).size > 1 and not share[:, :2].any()
    rates = [SMALLER["small"], RATES, RATES, RATES]
    for n, prompt in enumerate(table.columns["prompt"][:, 0]):
        for k in range(4):
            alone = answer(make_voting_stages(tmp_path)[k], prompt)
            assert table.cost[n, k] == pytest.approx(cost_of(alone, rates[k]))
            assert table.columns["answer"][n, k] == alone.text
            view = DraftView.of(alone, PromptView.of(prompt, detect_form(prompt)))
            assert share[n, k] == pytest.approx(view.vote_share)
            for j in range(k):
                stages = make_voting_stages(tmp_path)
                then = answer(stages[k], prompt, answer(stages[j], prompt))
                told = table.columns.get(f"cost_after_{NAMES[j]}")
                cost = np.nan if told is None else told[n, k]
                if k >= 2:  # it votes; a draft of the smaller stage changes nothing
                    assert np.isnan(cost) == (j == 0)
                    cost = table.cost[n, k] if j == 0 else cost
                    assert cost == pytest.approx(cost_of(then, RATES))
    assert not any(name.endswith("_large x5") for name in table.columns)


def test_only_a_draft_without_votes_has_first_tokens(tmp_path: Path) -> None:
    """What is elected was whole before anybody saw it."""
    table = make_table(tmp_path, 20, make_voting_stages(tmp_path))
    tokens_out = table.columns["tokens_out"].astype(int)
    for name in ("cost@16", "signal_logprob_mean@16"):
        known = ~np.isnan(table.columns[name].astype(float))
        np.testing.assert_array_equal(known[:, 1], tokens_out[:, 1] >= 16)
        assert known[:, 1].any() and not known[:, 2:].any()
    assert (tokens_out[:, 2:] >= 16).any()


def test_votes_verify_no_draft_and_elected_drafts_are_verified(tmp_path: Path) -> None:
    stages = make_voting_stages(tmp_path)
    last = Stage("top", load=lambda: stages[0].engine, rates_path=tmp_path / "rates.json")
    make_recording(tmp_path / "r.sqlite", make_tasks(3), [*stages, last])
    with Recording(tmp_path / "r.sqlite", read_only=True) as recording:
        pairs = {(pair.drafted, pair.target) for pair in recording.pairs()}
    assert pairs == {(0, 1), *((j, 4) for j in range(4))}


def test_what_another_stage_has_read_is_not_recorded_as_known(tmp_path: Path) -> None:
    table = make_table(tmp_path, 4, make_voting_stages(tmp_path))
    assert not table.columns["num_cached"].astype(int).any()


def test_other_rates_cost_what_a_recording_with_them_says(tmp_path: Path) -> None:
    rates = Rates(0.002, 0.5, ((4, 0.6), (8, 1.9)))
    table = make_table(tmp_path / "here", 15, make_voting_stages(tmp_path))
    elsewhere = tmp_path / "there"
    other = make_table(elsewhere, 15, make_voting_stages(elsewhere, rates))
    found = at_rates(table, [SMALLER["small"], rates, rates, rates])
    np.testing.assert_allclose(found.cost, other.cost)
    for name in NAMES[:-1]:
        ours, theirs = (t.columns[f"cost_after_{name}"].astype(float) for t in (found, other))
        np.testing.assert_allclose(ours, theirs)
    assert not np.allclose(table.cost, other.cost)


def test_replay_follows_the_live_ladder(tmp_path: Path) -> None:
    """Through plain answers and votes of one model, where none verifies another's draft."""

    def ladder() -> list[Stage]:
        return make_voting_stages(tmp_path)[1:]

    artifact = fit_artifact(make_table(tmp_path / "fit", 90, ladder()))[0]
    assert [stage.votes for stage in artifact.stages] == list(VOTES.values())
    table = make_table(tmp_path / "seen", 25, ladder(), seed=1)
    seen = seen_by(artifact, table)
    paths = set()
    for lam in (0.0, *artifact.policy.lam_grid[6:20:4].tolist()):
        cascade = Cascade(ladder(), FittedJudge(artifact))
        rolled = roll_out(artifact.policy, seen, lam)
        for n, prompt in enumerate(table.columns["prompt"][:, 0]):
            given = cascade.answer(prompt, Request(lam=lam))
            path = tuple(step.stage for step in given.trace if step.tokens_in)
            assert given.stage_index == rolled.stage[n]
            assert given.cost == pytest.approx(rolled.cost[n])
            paths.add(path)
    assert len(paths) >= 3
    assert any({"large x2", "large x5"} <= {*path} for path in paths)


def test_a_fit_is_of_so_many_votes(tmp_path: Path) -> None:
    stages = make_voting_stages(tmp_path)
    artifact = fit_artifact(make_table(tmp_path, 60, stages))[0]
    for stage, record in zip(stages, artifact.stages, strict=True):
        stage.model_hash = record.model_hash  # what a model file would have
    assert fits_ladder(artifact, stages)
    stages[3].votes = 4
    assert not fits_ladder(artifact, stages)
