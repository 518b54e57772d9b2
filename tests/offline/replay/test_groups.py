"""Prompts of equal text: what is said of one out of fold was told by none of the others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.calibration import auc
from adaptive_sd.offline.fit import fit_artifact
from adaptive_sd.offline.prompts import one_of_each, prompt_groups, prompt_keys
from adaptive_sd.offline.replay.chances import fit_chances
from adaptive_sd.offline.replay.halves import Halves, Split, fit_halves
from adaptive_sd.offline.replay.router import fit_routed_quality
from adaptive_sd.stage_record import StageRecord

NUM_TEXTS, NUM_COPIES = 48, 6


def coins() -> OutcomeTable:
    """Which stage is right is a coin for each text, whose words and hidden state are its own."""
    rng = np.random.default_rng(0)
    texts = np.repeat(np.arange(NUM_TEXTS), NUM_COPIES)
    right = (rng.random(NUM_TEXTS) < 0.5)[texts]
    states = rng.normal(size=(NUM_TEXTS, 32)).astype(np.float16)
    written = [f"first{n:02} second{n:02} third{n:02}" for n in range(NUM_TEXTS)]
    hidden = np.empty((len(texts), 2), dtype=object)
    for n, text in enumerate(texts):
        hidden[n] = [states[text]] * 2
    return OutcomeTable(
        stages=(StageRecord("a"), StageRecord("b")),
        prompt_ids=tuple(f"p{n:03}" for n in range(len(texts))),
        quality=np.stack([right, ~right], axis=1).astype(float),
        cost=np.ones((len(texts), 2)),
        columns={
            "prompt": np.array([[written[text]] * 2 for text in texts], dtype=object),
            "hidden": hidden,
        },
        num_left_out=0,
    )


@pytest.fixture(scope="module")
def halves() -> Halves:
    table = coins()
    num_fit = 40 * NUM_COPIES
    rows = np.arange(len(table.prompt_ids))
    parts = Split(rows[:num_fit], rows[num_fit:], own=False)
    return fit_halves(table, parts, rng=np.random.default_rng(0))


def test_prompts_of_one_text_have_one_number() -> None:
    table = coins()
    assert prompt_groups(table).tolist() == (np.arange(NUM_TEXTS * NUM_COPIES) // 6).tolist()
    spaced = np.array([[f"  {a} ", b] for a, b in table.columns["prompt"]], dtype=object)
    spaced[::2] = table.columns["prompt"][::2]
    columns = {**table.columns, "prompt": spaced}
    assert (prompt_groups(replace(table, columns=columns)) == prompt_groups(table)).all()
    bare = replace(table, columns={})
    assert prompt_groups(bare).tolist() == list(range(len(table.prompt_ids)))


def test_one_prompt_of_each_text_is_drawn_in_any_order() -> None:
    table = coins()
    drawn = [one_of_each(table, rng=np.random.default_rng(seed)) for seed in range(40)]
    texts = [prompt_keys(one) for one in drawn]
    assert all(sorted(keys) == sorted(set(prompt_keys(table))) for keys in texts)
    assert len({keys[0] for keys in texts}) > 10
    assert len({name for one in drawn for name in one.prompt_ids}) > 3 * NUM_TEXTS
    assert one_of_each(replace(table, columns={}), rng=np.random.default_rng(0)).quality.shape == (
        table.quality.shape
    )


def test_nothing_is_told_of_coins(halves: Halves) -> None:
    """By predictors, regressions in a state, or the router; .9 and more if folds part copies."""
    fit, right = halves.fit, halves.fit.quality[:, 0]
    own = np.random.default_rng(3).normal(size=(NUM_TEXTS, 30)).astype(np.float32)
    known = replace(fit, prompt_features=own[fit.group])
    chances = fit_chances(known, known, rng=np.random.default_rng(1)).fit
    routed = fit_routed_quality(halves, rng=np.random.default_rng(2)).fit
    told = [fit.estimates, chances[()].later, chances[(0,)].held, routed]
    assert max(auc(estimates[:, 0], right) for estimates in told) < 0.8
    alone = replace(halves, fit=replace(fit, group=None))
    leaking = [
        fit_chances(*[replace(known, group=None)] * 2, rng=np.random.default_rng(1)).fit[()].later,
        fit_routed_quality(alone, rng=np.random.default_rng(2)).fit,
    ]
    assert min(auc(estimates[:, 0], right) for estimates in leaking) > 0.9


def test_a_fit_is_not_praised_for_what_it_has_seen() -> None:
    """Its AUC of coins was .98."""
    _, report = fit_artifact(coins())
    assert all(stage.predictor.auc.value < 0.7 for stage in report.stages)
    assert max(stage.predictor.auc.high for stage in report.stages) > 0.5
    assert report.quality < 0.7
