"""The plots of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from adaptive_sd.offline.replay.field import OURS
from adaptive_sd.offline.replay.measure import BASELINE
from adaptive_sd.offline.replay.report import ReplayReport
from adaptive_sd.offline.report.figures import Drawing, label, render
from adaptive_sd.offline.report.flow import Flow
from adaptive_sd.offline.report.frontier import Curve, Frontier
from adaptive_sd.offline.report.palette import COLOURS, POLICY_COLOURS, stage_colours
from adaptive_sd.offline.report.reliability import Reliability

FloatArray = NDArray[np.float64]

_NUM_EVIDENCE = 8
_LEAST_LABELLED = 0.12
"""Share of a bar that has room for its number."""
_ORACLE = "oracle"


def draw_frontier(frontier: Frontier, unit: str) -> Drawing:
    order = sorted(frontier.curves, key=lambda curve: curve.policy in (BASELINE, OURS))

    def draw(figure: Figure, narrow: bool) -> None:
        figure.set_figheight(4.6 if narrow else 4.7)
        axes = figure.add_subplot()
        for curve in order:
            _draw_curve(axes, curve)
        middle = float(frontier.curves[0].places.mean())
        for stage in frontier.stages:
            cost, quality = stage.cost, stage.quality
            axes.errorbar(
                cost.value,
                quality.value,
                xerr=[[max(cost.value - cost.low, 0)], [max(cost.high - cost.value, 0)]],
                yerr=[
                    [max(quality.value - quality.low, 0)],
                    [max(quality.high - quality.value, 0)],
                ],
                fmt="D",
                markersize=5,
                elinewidth=0.9,
                color=POLICY_COLOURS["single_stages"].light,
            )
            axes.annotate(
                label(stage.name, 18 if narrow else 26),
                (cost.value, quality.value),
                xytext=(-5, -13) if cost.value > middle else (6, -13),
                textcoords="offset points",
                fontsize=8,
                ha="right" if cost.value > middle else "left",
                bbox={"facecolor": COLOURS["card"].light, "alpha": 0.75, "lw": 0, "pad": 1},
                zorder=5,
            )
        axes.set_xlim(*_limits(frontier.curves[0].places))
        axes.set_xlabel(f"mean cost of a prompt ({unit})")
        axes.set_ylabel("mean quality")
        figure.legend(loc="outside lower center", ncols=2 if narrow else 4, handlelength=1.8)

    return render(
        "frontier",
        "Mean quality against mean cost: the curve of every policy on prompts it was not chosen "
        f"on, with the single stages as diamonds. The 95 % bands are those of {OURS} and "
        f"{BASELINE}; the numbers are in the table of the policies.",
        draw,
    )


def _limits(places: FloatArray) -> tuple[float, float]:
    """Where areas are measured, and a little more."""
    margin = 0.06 * float(places[-1] - places[0]) or 0.5
    return float(places[0]) - margin, float(places[-1]) + margin


def _draw_curve(axes: Axes, curve: Curve) -> None:
    colour = POLICY_COLOURS[curve.policy].light
    main = curve.policy in (OURS, BASELINE)
    style = {"single_stages": "--", _ORACLE: ":"}.get(curve.policy, "-")
    axes.plot(
        curve.places,
        curve.heights,
        style,
        color=colour,
        linewidth=2.4 if main else 1.2,
        label=curve.policy,
    )
    if curve.low is not None and curve.high is not None:
        axes.fill_between(
            curve.places, curve.low, curve.high, color=colour, alpha=0.14, linewidth=0
        )
    if curve.policy not in (_ORACLE, "single_stages"):
        axes.plot(
            curve.cost, curve.quality, "o", color=colour, markersize=3.4 if main else 1.8, alpha=0.7
        )


def draw_areas(replay: ReplayReport) -> Drawing:
    names = sorted(replay.policies, key=lambda name: replay.policies[name].area.value)

    def draw(figure: Figure, narrow: bool) -> None:
        figure.set_figheight(0.24 * len(names) + 0.9)
        axes = figure.add_subplot()
        for place, name in enumerate(names):
            value, low, high = replay.policies[name].area
            colour = POLICY_COLOURS[name].light
            axes.plot([low, high], [place, place], color=colour, linewidth=2)
            axes.plot(value, place, "o", color=colour, markersize=7 if name == OURS else 5)
        axes.axvline(
            replay.policies[BASELINE].area.value, color=COLOURS["muted"].light, lw=0.9, ls="--"
        )
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(axis="y", length=0, labelcolor=COLOURS["ink"].light)
        axes.grid(False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("area under the curve")

    return render(
        "areas",
        "Area under each policy's curve with its 95 % interval, best at the top: "
        + ", ".join(f"{name} {replay.policies[name].area.value:.3f}" for name in reversed(names))
        + f". The dashed line is {BASELINE}.",
        draw,
    )


def draw_calibration(reliability: Sequence[Reliability]) -> Drawing:
    def draw(figure: Figure, narrow: bool) -> None:
        grid = _grid(figure, len(reliability), columns=2 if narrow else 4, height=1.95)
        for axes, stage in zip(grid, reliability, strict=True):
            axes.plot([0, 1], [0, 1], "--", color=COLOURS["muted"].light, linewidth=1)
            estimates, qualities = ([b[i] for b in stage.bins] for i in (1, 2))
            for b in stage.bins:
                axes.plot([b.estimate] * 2, [b.low, b.high], color=COLOURS["accent"].light, lw=1.2)
            axes.plot(estimates, qualities, "-o", color=COLOURS["accent"].light, lw=1, ms=4)
            axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
            axes.set_xticks([0, 0.5, 1])
            axes.set_yticks([0, 0.5, 1])
            axes.set_title(label(stage.predictor.stage, 16 if narrow else 22), fontsize=8.5)
        figure.supxlabel("estimated quality", fontsize=9, color=COLOURS["muted"].light)
        figure.supylabel("measured quality", fontsize=9, color=COLOURS["muted"].light)

    return render(
        "calibration",
        "Measured quality against estimated quality in bins of equal size, one panel for each "
        "stage, with 95 % intervals; on the dashed diagonal estimates are right.",
        draw,
    )


def draw_stopping(flow: Flow, names: Sequence[str]) -> Drawing:
    rows = flow.stops
    colours, card = stage_colours(len(names)), COLOURS["card"].light

    def draw(figure: Figure, narrow: bool) -> None:
        figure.set_figheight(0.24 * len(rows) + 0.2 * len(names) * narrow + 0.9)
        axes = figure.add_subplot()
        for place, row in enumerate(rows):
            left = 0.0
            for share, colour in zip(row.stopped.tolist(), colours, strict=True):
                axes.barh(place, share, left=left, height=0.78, color=colour.light, ec=card, lw=0.8)
                if share >= _LEAST_LABELLED:
                    middle, text = left + share / 2, f"{100 * share:.0f} %"
                    axes.text(middle, place, text, ha="center", va="center", color=card, size=7.5)
                left += share
        titles = [f"{label(row.group, 18 if narrow else 30)} ({row.num_prompts})" for row in rows]
        axes.set_yticks(range(len(rows)), titles)
        axes.tick_params(axis="y", length=0, labelcolor=COLOURS["ink"].light)
        axes.grid(False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.set(xlim=(0, 1), ylim=(len(rows) - 0.4, -0.6))
        axes.set_xticks(np.linspace(0, 1, 5), ["0 %", "25 %", "50 %", "75 %", "100 %"])
        axes.set_xlabel("share of prompts")
        handles = [
            Patch(color=colour.light, label=label(name))
            for colour, name in zip(colours, names, strict=True)
        ]
        figure.legend(
            handles=handles, loc="outside lower center", ncols=1 if narrow else min(len(names), 4)
        )

    overall = rows[0].stopped
    return render(
        "stopping",
        "After which stage prompts stop, by group of prompts. Of all prompts: "
        + ", ".join(f"{name} {share:.0%}" for name, share in zip(names, overall, strict=True))
        + ".",
        draw,
    )


def draw_importance(importance: Sequence[Mapping[str, float]], names: Sequence[str]) -> Drawing:
    tops = [list(falls.items())[:_NUM_EVIDENCE] for falls in importance]
    shown = max(1, *map(len, tops))
    widest = max((fall for top in tops for _, fall in top), default=0.0)

    def draw(figure: Figure, narrow: bool) -> None:
        height = 0.19 * max(shown, 2) + 0.45
        grid = _grid(figure, len(tops), columns=1 if narrow else 2, height=height)
        for axes, name, top in zip(grid, names, tops, strict=True):
            falls = [fall for _, fall in top]
            axes.barh(range(len(top)), falls, height=0.7, color=COLOURS["accent"].light)
            axes.set_yticks(range(len(top)), [label(evidence) for evidence, _ in top])
            axes.tick_params(axis="y", length=0, labelcolor=COLOURS["ink"].light, labelsize=8)
            axes.set_ylim(shown - 0.4, -0.6)
            axes.set_xlim(min([0.0, *falls]) * 1.1, max(widest * 1.05, 1e-4))
            axes.locator_params(axis="x", nbins=4)
            axes.grid(False, axis="y")
            axes.spines["left"].set_visible(False)
            axes.set_title(label(name), loc="left")
        figure.supxlabel("fall of the AUC", fontsize=9, color=COLOURS["muted"].light)

    return render(
        "importance",
        "What each stage's predictor rests on: by how much its AUC falls when a piece of evidence "
        "is shuffled between prompts, most important first.",
        draw,
    )


def _grid(figure: Figure, count: int, *, columns: int, height: float) -> list[Axes]:
    """Panels in rows; `height` of one in inches."""
    columns = min(columns, count)
    num_rows = -(-count // columns)
    figure.set_figheight(height * num_rows + 0.35)
    return [figure.add_subplot(num_rows, columns, place + 1) for place in range(count)]
