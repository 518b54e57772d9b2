"""Quality against latency of a two-stage run, as a PNG."""

from __future__ import annotations

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from adaptive_sd.offline.panels import png_bytes
from adaptive_sd.offline.two_stage.rule import Outcomes, TwoStageRule


def plot_tradeoff(rule: TwoStageRule, lam: float) -> bytes:
    """The cascade's samples and mean at `lam`, the means along the sweep, and both models alone."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    cascade, sweep = rule.at(lam), rule.sweep()
    axes.scatter(
        *(1e3 * cascade.latency_s, cascade.quality),
        alpha=0.4,
        label=f"samples, lambda {lam:g}",
    )
    means = [_mean(outcomes) for _, outcomes in sweep]
    label = f"means, lambda {sweep[0][0]:g} to {sweep[-1][0]:g}"
    axes.plot(*zip(*means, strict=True), "-o", markersize=4, color="grey", label=label)
    names = [model.name for model in rule.measured.models]
    alone = (rule.always_first(), rule.always_second())
    for name, outcomes, style in zip(names, alone, ("C1s", "C2^"), strict=True):
        axes.plot(*_mean(outcomes), style, markersize=12, label=f"always {name}")
    axes.plot(*_mean(cascade), "C0*", markersize=11, label=f"mean, lambda {lam:g}")
    axes.set_xlabel("Latency (ms)")
    axes.set_ylabel("Quality")
    axes.set_ylim(-0.05, 1.05)
    axes.set_title(f"Quality-latency tradeoff, {len(rule.measured.samples)} samples")
    axes.legend(fontsize="small")
    return png_bytes(figure)


def _mean(outcomes: Outcomes) -> tuple[float, float]:
    return float(1e3 * outcomes.latency_s.mean()), float(outcomes.quality.mean())
