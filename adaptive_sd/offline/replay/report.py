"""What a replay found, as one JSON document and as a table for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from adaptive_sd.decision.calibration import Interval
from adaptive_sd.offline.fit_report import without_nan
from adaptive_sd.offline.replay.measure import BASELINE, SHARES, PolicyReport

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class StageMeans:
    """One stage alone, on the test half."""

    stage: str
    quality: float
    cost: float


@dataclass(frozen=True, slots=True)
class PredictorQuality:
    """One stage's predictor on prompts that it was not fitted on."""

    stage: str
    auc: Interval
    ece: Interval
    brier: Interval


@dataclass(frozen=True, slots=True)
class ArtifactUse:
    """What an artifact has to do with the table that it is replayed on.

    `num_left_out` prompts to test on have the text of one that it was fitted on, and were left out.
    Its estimates are of agreement with the stage `agreement_with`, if that is given.
    """

    num_left_out: int
    saw_fit_half: bool
    overlap_checked: bool
    agreement_with: str | None

    def notes(self) -> list[str]:
        lines = ["adaptive: the artifact's"]
        if self.num_left_out:
            lines.append(
                f"{self.num_left_out} prompts to test on left out: the artifact was fitted on them"
            )
        if self.saw_fit_half:
            lines.append(
                "the artifact was fitted on prompts to fit on: its setting for 98 % cannot be told"
            )
        if not self.overlap_checked:
            lines.append("the table has no prompts: nobody can tell whether the fit saw them")
        if self.agreement_with:
            lines.append(
                f"its estimates are of agreement with {self.agreement_with}: it was calibrated "
                "without labels"
            )
        return lines


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """`num_shared` test prompts have the text of a fit prompt. `seeds` has areas by policy."""

    num_fit: int
    num_test: int
    num_left_out: int
    num_shared: int
    own_split: bool
    artifact: ArtifactUse | None
    stages: tuple[StageMeans, ...]
    predictors: tuple[PredictorQuality, ...]
    policies: Mapping[str, PolicyReport]
    seeds: Mapping[str, tuple[float, ...]]

    def to_json(self, table: str) -> Json:
        """`table` names the table in the document; null stands for what has no value."""
        document: Json = {
            "table": table,
            "num_prompts": self.num_test,
            "num_fit": self.num_fit,
            "num_left_out": self.num_left_out,
            "num_in_both_halves": self.num_shared,
            "split": "column" if self.own_split else "seeded halves",
            "artifact": None if self.artifact is None else self._artifact(self.artifact),
            "stages": [
                {"stage": s.stage, "quality": s.quality, "cost": s.cost} for s in self.stages
            ],
            "predictors": [
                {
                    "stage": p.stage,
                    "auc": without_nan(p.auc.value),
                    "auc_ci": _bounds(p.auc),
                    "ece": without_nan(p.ece.value),
                    "ece_ci": _bounds(p.ece),
                    "brier": without_nan(p.brier.value),
                }
                for p in self.predictors
            ],
            "policies": {name: _policy(report) for name, report in self.policies.items()},
        }
        if self.seeds:
            document["seeds"] = {
                name: {
                    "area_mean": float(np.mean(areas)),
                    "area_sd": float(np.std(areas, ddof=1)),
                    "areas": list(areas),
                }
                for name, areas in self.seeds.items()
            }
        return document

    def _artifact(self, use: ArtifactUse) -> Json:
        others = "by predictors fitted on the fit half" if use.saw_fit_half else "by its predictors"
        return {
            "policies": ["adaptive", "random"],
            "num_prompts": self.num_test,
            "num_left_out": use.num_left_out,
            "used": "adaptive, random and predictors: the artifact's, on the test half; others: "
            f"{others}, chosen on the fit half, measured on the test half",
            "overlap_checked": use.overlap_checked,
            "agreement_with": use.agreement_with,
        }

    def as_rows(self) -> list[tuple[str, ...]]:
        """The cells of a table, headings first."""
        rows: list[tuple[str, ...]] = [
            ("policy", "area", "cost@98", "cost@98_fit", "quality kept", f"gain over {BASELINE}")
        ]
        for name, report in self.policies.items():
            costs = dict(zip(SHARES, report.costs_at, strict=True))
            rows.append(
                (
                    name,
                    format(report.area, ".4f"),
                    _cell(costs[0.98]),
                    _cell(None if report.chosen is None else report.chosen.cost),
                    _cell(None if report.chosen is None else report.chosen.quality),
                    "" if report.gain is None else format(report.gain, "+.4f"),
                )
            )
        return rows

    def notes(self) -> list[str]:
        """What has to be known to read the table."""
        how = "its own column" if self.own_split else "seeded halves"
        lines = [f"{self.num_test} prompts to test on, {self.num_fit} to fit on ({how})"]
        if self.num_left_out:
            lines.append(f"{self.num_left_out} prompts left out: not graded at every stage")
        if self.num_shared:
            lines.append(f"{self.num_shared} prompts to test on have the text of one to fit on")
        if self.artifact is not None:
            lines += self.artifact.notes()
        for name, areas in self.seeds.items():
            lines.append(
                f"{name}: area {np.mean(areas):.4f}, standard deviation "
                f"{np.std(areas, ddof=1):.4f} over {len(areas)} seeds"
            )
        return lines


def _policy(report: PolicyReport) -> Json:
    costs = {
        f"cost@{round(100 * share)}": cost
        for share, cost in zip(SHARES, report.costs_at, strict=True)
    }
    chosen = report.chosen
    return {
        "area": report.area.value,
        "area_ci": _bounds(report.area),
        **costs,
        "cost@98_fit": None if chosen is None else chosen.cost,
        "quality@98_fit": None if chosen is None else chosen.quality,
        "dial@98_fit": None if chosen is None else chosen.dial,
        "points": [point._asdict() for point in report.points],
        "paired": None
        if report.gain is None
        else {"vs": BASELINE, "area_gain": report.gain.value, "ci": _bounds(report.gain)},
    }


def _bounds(interval: Interval) -> list[float | None]:
    return [without_nan(interval.low), without_nan(interval.high)]


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
