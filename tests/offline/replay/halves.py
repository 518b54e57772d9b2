"""Halves of wild tables: noise in every column, no predictor fitted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from adaptive_sd.data.outcomes import OutcomeTable, StageRecord
from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.offline.replay.contest import Contest
from adaptive_sd.offline.replay.halves import Halves
from tests.decision.tables import wild_table

NAMES = ("small", "middle", "large", "huge")


def wild_halves(
    num_prompts: int = 40, num_stages: int = 3, *, seed: int = 0, verified: bool = True
) -> Halves:
    """`num_prompts` in each half."""
    both = [
        wild_table(num_prompts, num_stages, seed=seed + half, verified=verified).table
        for half in (0, 10_000)
    ]
    outcomes = [_outcomes(table, half) for table, half in zip(both, ("fit", "test"), strict=True)]
    return Halves(NAMES[:num_stages], *both, (), *outcomes, ())


def _outcomes(table: FitTable, half: str) -> OutcomeTable:
    num_prompts, num_stages = table.quality.shape
    texts = [f"{half} prompt number {n}, of {n % 7} words" for n in range(num_prompts)]
    return OutcomeTable(
        stages=tuple(StageRecord(name) for name in NAMES[:num_stages]),
        prompt_ids=tuple(f"{half}{n}" for n in range(num_prompts)),
        quality=table.quality,
        cost=table.cost,
        columns={"prompt": np.array([[text] * num_stages for text in texts], dtype=object)},
        num_left_out=0,
    )


def contest_of(halves: Halves, seed: int = 0) -> Contest:
    return Contest(halves, fit_rng=np.random.default_rng(seed), seed=seed)


def with_test_quality(halves: Halves, quality: np.ndarray) -> Halves:
    """The same evidence, other outcomes of the test half."""
    return replace(
        halves,
        test=replace(halves.test, quality=quality),
        test_outcomes=replace(halves.test_outcomes, quality=quality),
    )
