"""Plots of the studies, as PNG bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from adaptive_sd.offline.png import png_bytes
from adaptive_sd.offline.replay.measure import PolicyReport
from adaptive_sd.offline.studies.sets import SetResult
from adaptive_sd.offline.studies.sweep import SweepPoint


def plot_sweep(points: Sequence[SweepPoint], names: Sequence[str], recommended: float) -> bytes:
    """Quality and cost against always-largest, and who answers, over lambda."""
    figure, (above, below) = _figure(2)
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
    figure, (above, below) = _figure(2)
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
    figure, (axes,) = _figure(1)
    for name, report in reports.items():
        points = sorted((p.cost, p.quality) for p in report.points)
        axes.plot(*zip(*points, strict=True), "o-", markersize=3, label=name)
    axes.set_xlabel("mean cost of a prompt (s)")
    axes.set_ylabel("mean quality")
    axes.legend(fontsize="small")
    return png_bytes(figure)


def _figure(count: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(7, 3.6 * count), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, [figure.add_subplot(count, 1, i + 1) for i in range(count)]
