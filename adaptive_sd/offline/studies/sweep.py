"""What lambda does: quality, cost and paths of a fitted policy over the whole range."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.artifact import Artifact
from adaptive_sd.decision.calibration import Interval
from adaptive_sd.decision.fit_table import FitTable
from adaptive_sd.decision.paths import follow
from adaptive_sd.offline.bootstrap import paired_difference, ratio_of_means
from adaptive_sd.offline.replay.adaptive import run_adaptive
from adaptive_sd.offline.replay.dials import Run


class SweepPoint(NamedTuple):
    """One lambda on all prompts; shares are by stage, in the order of the ladder.

    Difference and ratio are against always-largest on the same prompts, with 95 % intervals;
    `behind_best` is the quality less that of the lambda of most quality in the sweep.
    """

    lam: float
    quality: float
    cost: float
    difference: Interval
    ratio: Interval
    behind_best: Interval
    run_share: tuple[float, ...]
    answer_share: tuple[float, ...]


def sweep_lambda(
    artifact: Artifact, table: FitTable, lams: Sequence[float], *, seed: int = 0
) -> list[SweepPoint]:
    """`table` as the artifact's predictors see it (`seen_by`), of prompts it was not fitted on."""
    runs = list(run_adaptive(artifact.policy, table, lams))
    best = max((run.quality for run in runs), key=lambda quality: float(quality.mean()))
    return [
        _point(artifact, table, lam, run, best, np.random.default_rng(seed))
        for lam, run in zip(lams, runs, strict=True)
    ]


def lams_of(artifact: Artifact, count: int) -> list[float]:
    """From where nothing can pay to where any gain does, with the recommended one among them."""
    grid = artifact.policy.lam_grid
    spread: NDArray[np.float64] = np.geomspace(grid[1], grid[-1], count)
    return sorted({*np.minimum(spread, grid[-1]).tolist(), artifact.recommended_lam})


def _point(
    artifact: Artifact,
    table: FitTable,
    lam: float,
    run: Run,
    best: NDArray[np.float64],
    rng: np.random.Generator,
) -> SweepPoint:
    paths = follow(artifact.policy, table, lam)
    stages = range(table.num_stages)
    return SweepPoint(
        lam=lam,
        quality=float(run.quality.mean()),
        cost=float(run.cost.mean()),
        difference=paired_difference(run.quality, table.quality[:, -1], rng=rng),
        ratio=ratio_of_means(run.cost, table.cost[:, -1], rng=rng),
        behind_best=paired_difference(run.quality, best, rng=rng),
        run_share=tuple(float(np.mean([k in path.stages for path in paths])) for k in stages),
        answer_share=tuple(float(np.mean([k == path.returned for path in paths])) for k in stages),
    )
