"""Plots of the benches, as PNG bytes."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes

from adaptive_sd.decision.calibration import Interval
from adaptive_sd.offline.benches.draft_summary import SetSummary
from adaptive_sd.offline.benches.guarantee import GuaranteeRow
from adaptive_sd.offline.benches.ladder import Comparison
from adaptive_sd.offline.panels import png_bytes, stacked_axes


def plot_drafts(sets: Sequence[SetSummary], title: str) -> bytes:
    """Seconds of each method over plain generation's, one panel a set."""
    figure, panels = stacked_axes(len(sets))
    for axes, of_set in zip(panels, sets, strict=True):
        ratios = {method.name: method.ratio for method in of_set.methods}
        if of_set.agreeing is not None:
            ratios["own first 64 tokens"] = of_set.agreeing.ratio
        _intervals(axes, ratios, 1.0)
        axes.set_title(f"{of_set.name}, {of_set.num_prompts} prompts", fontsize="medium")
        axes.set_ylabel("seconds over plain generation's")
    figure.suptitle(title, fontsize="medium")
    return png_bytes(figure)


def plot_ladder(result: Comparison) -> bytes:
    """The ladder against its largest stage: ratios, and the difference in quality."""
    figure, (above, below) = stacked_axes(2)
    _intervals(above, {"seconds": result.latency_ratio, "cost": result.cost_ratio}, 1.0)
    above.set_ylabel("ladder over largest")
    above.set_title(f"{result.num_prompts} prompts", fontsize="medium")
    _intervals(below, {"quality": result.quality_difference}, 0.0)
    below.set_ylabel("ladder minus largest")
    return png_bytes(figure)


def plot_promises(rows: Sequence[GuaranteeRow], title: str) -> bytes:
    """Draws in which a promise was broken, against those that chance allows; and what it costs."""
    figure, (above, below) = stacked_axes(2)
    for num_prompts in sorted({row.num_prompts for row in rows}):
        told = [row for row in rows if row.num_prompts == num_prompts]
        names = [textwrap.fill(row.claim, 24) for row in told]
        label = f"samples of {num_prompts} prompts"
        above.plot(names, [row.num_broken for row in told], "o", label=label)
        costs = [float("nan") if row.cost_share is None else row.cost_share for row in told]
        below.plot(names, costs, "o", label=label)
    above.axhline(rows[0].num_allowed, color="grey", linestyle=":")
    above.set_ylabel(f"broken, of {rows[0].num_draws} draws")
    below.axhline(1.0, color="grey", linestyle=":")
    below.set_ylabel("cost over the best single stage's")
    for axes in (above, below):
        axes.tick_params(axis="x", rotation=45, labelsize="x-small", labelbottom=axes is below)
        axes.set_ylim(bottom=0)
        axes.legend(fontsize="small")
    figure.suptitle(title, fontsize="medium")
    return png_bytes(figure)


def _intervals(axes: Axes, values: dict[str, Interval], even: float) -> None:
    places = range(len(values))
    spans = list(values.values())
    axes.errorbar(
        places,
        [span.value for span in spans],
        yerr=[[s.value - s.low for s in spans], [s.high - s.value for s in spans]],
        fmt="o",
        capsize=4,
    )
    axes.axhline(even, color="grey", linestyle=":")
    axes.set_xticks(list(places), list(values), fontsize="small")
