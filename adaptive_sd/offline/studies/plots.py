"""Plots of the studies, as PNG bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.offline.panels import png_bytes, stacked_axes
from adaptive_sd.offline.replay.measure import PolicyReport
from adaptive_sd.offline.studies.sets import SetResult
from adaptive_sd.offline.studies.sweep import SweepPoint

FloatArray = NDArray[np.float64]


def plot_sweep(points: Sequence[SweepPoint], names: Sequence[str], recommended: float) -> bytes:
    """Quality and cost against always-largest, and who answers, over lambda."""
    figure, (above, below) = stacked_axes(2)
    lams = [p.lam for p in points]
    for label, values in (
        ("quality difference", [p.difference for p in points]),
        ("cost ratio", [p.ratio for p in points]),
    ):
        above.plot(lams, [v.value for v in values], label=label)
        above.fill_between(lams, [v.low for v in values], [v.high for v in values], alpha=0.2)
    below.stackplot(lams, *zip(*(p.answer_share for p in points), strict=True), labels=names)
    for axes, what in ((above, "against always-largest"), (below, "share of the answers")):
        axes.axvline(recommended, color="grey", linestyle=":")
        axes.set_ylabel(what)
        axes.set_xscale("log")
        axes.set_xlabel("lambda, seconds for one more right answer (dotted: recommended)")
        axes.legend(fontsize="small")
    return png_bytes(figure)


def plot_sets(results: Sequence[SetResult]) -> bytes:
    """Quality of ladder and largest stage, and the ladder's cost ratio, by set."""
    figure, (above, below) = stacked_axes(2)
    places = range(len(results))
    names = [f"{r.name}\n{r.num_prompts}" for r in results]
    above.bar([p - 0.2 for p in places], [r.ladder.quality for r in results], 0.4, label="ladder")
    above.bar([p + 0.2 for p in places], [r.largest[0] for r in results], 0.4, label="largest")
    above.set_ylabel("quality")
    above.legend(fontsize="small")
    ratios = [r.ladder.ratio for r in results]
    below.errorbar(
        places,
        [r.value for r in ratios],
        yerr=[[r.value - r.low for r in ratios], [r.high - r.value for r in ratios]],
        fmt="o",
        capsize=4,
    )
    below.axhline(1.0, color="grey", linestyle=":")
    below.set_ylabel("cost against always-largest")
    for axes in (above, below):
        axes.set_xticks(list(places), names, fontsize="small")
    return png_bytes(figure)


def plot_ladders(reports: Mapping[str, PolicyReport]) -> bytes:
    """The points of each ladder's policy, on one scale."""
    figure, (axes,) = stacked_axes(1)
    for name, report in reports.items():
        points = sorted((p.cost, p.quality) for p in report.points)
        axes.plot(*zip(*points, strict=True), "o-", markersize=3, label=name)
    axes.set_xlabel("mean cost of a prompt (s)")
    axes.set_ylabel("mean quality")
    axes.legend(fontsize="small")
    return png_bytes(figure)


def plot_stream(gaps: Mapping[str, FloatArray], width: int, num_early: int) -> bytes:
    """How much too high estimates are, in windows of `width` answers; the mix changes once."""
    figure, (axes,) = stacked_axes(1)
    for name, gap in gaps.items():
        axes.plot(width * (np.arange(len(gap)) + 0.5), gap, label=name)
    axes.axvline(num_early, color="grey", linestyle=":")
    axes.axhline(0, color="grey", linewidth=0.5)
    axes.set_xlabel("answers (dotted: the mix of prompts changes)")
    axes.set_ylabel("estimated less graded quality")
    axes.legend(fontsize="small")
    return png_bytes(figure)
