"""The page: one HTML file that asks nothing of the network and runs no script."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime

import jinja2
from markupsafe import Markup

from adaptive_sd.decision.calibration import Interval
from adaptive_sd.offline.replay.field import OURS
from adaptive_sd.offline.replay.measure import BASELINE, SHARES
from adaptive_sd.offline.report.figures import Drawing
from adaptive_sd.offline.report.gather import Report
from adaptive_sd.offline.report.latency import QUANTILES
from adaptive_sd.offline.report.palette import COLOURS
from adaptive_sd.offline.report.plots import (
    draw_areas,
    draw_calibration,
    draw_frontier,
    draw_importance,
    draw_stopping,
)
from adaptive_sd.offline.report.provenance import Settings
from adaptive_sd.stage_record import unit_of

DESCRIPTIONS = {
    "single_stages": "always one stage",
    "random": f"the paths of {OURS}, drawn by chance",
    "threshold_chain": "all stages in order, until an estimate reaches its threshold",
    "best_pair": "two stages with one threshold, the best pair",
    "frugal": "up to three stages with thresholds (after FrugalGPT)",
    "agreement": "until two stages give the same answer",
    "router": "one stage, chosen from the prompt alone",
    "cascade_routing": "route, run, route again (after arXiv 2410.10347)",
    "known_p": "the textbook rule: chances treated as known, solved again after each draft",
    "adaptive": "the fitted policy: skip, stop, go on or recall",
    "oracle": "knows every outcome beforehand; nobody can",
}


def draw(report: Report) -> tuple[Drawing, ...]:
    """All plots, in the order of the page."""
    names = [stage.name for stage in report.stages]
    return (
        draw_frontier(report.frontier, cost_unit(report)),
        draw_areas(report.replay),
        draw_calibration(report.reliability),
        draw_stopping(report.flow, names),
        draw_importance(report.importance, names),
    )


def render_page(
    report: Report,
    drawings: Sequence[Drawing],
    *,
    settings: Settings,
    hashes: Mapping[str, str],
    versions: Mapping[str, str],
    made: datetime,
) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("adaptive_sd.offline.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "interval": _interval,
        "number": _number,
        "signed": lambda interval: _interval(interval, sign="+"),
        "percent": _percent,
        "ms": lambda seconds: f"{1e3 * seconds:.3f}",
    }
    return environment.get_template("report.html.j2").render(
        report=report,
        figures={
            d.name: {"alt": d.alt, "wide": Markup(d.wide), "narrow": Markup(d.narrow)}
            for d in drawings
        },
        colours=COLOURS,
        descriptions=DESCRIPTIONS,
        ours=report.replay.policies[OURS],
        our_name=OURS,
        baseline=BASELINE,
        shares=[round(100 * share) for share in SHARES],
        quantiles=[f"p{100 * q:.0f}" for q in QUANTILES],
        names=[stage.name for stage in report.stages],
        unit=cost_unit(report),
        verdict=verdict(report),
        settings=settings,
        hashes=hashes,
        versions=versions,
        made=made,
    )


def cost_unit(report: Report) -> str:
    """Tables of this program's own recordings have rates with a unit; others do not say."""
    known = all(stage.rates for stage in report.stages)
    return unit_of(report.stages) if known else "the table's unit"


def verdict(report: Report) -> str:
    """In one sentence, what the comparison with the baseline can and cannot show."""
    gain = report.replay.policies[OURS].gain
    assert gain is not None  # only the baseline has none
    if gain.low > 0:
        return f"The fitted policy is better than the best pair of stages: {_interval(gain, '+')}."
    if gain.high < 0:
        return f"The fitted policy is worse than the best pair of stages: {_interval(gain, '+')}."
    return (
        "On these prompts the fitted policy cannot be told from the best pair of stages: "
        f"{_interval(gain, '+')}."
    )


def _interval(interval: Interval, sign: str = "", *, digits: int = 4) -> str:
    if not math.isfinite(interval.value):
        return "undefined"
    return format(interval, f"{sign}.{digits}f")


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _percent(share: float) -> str:
    if not math.isfinite(share):
        return "-"
    return "<1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"
