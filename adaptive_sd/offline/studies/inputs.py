"""What studies read: a table's prompts to report on, and the artifact that has not seen them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from adaptive_sd.artifact import Artifact, load_artifact
from adaptive_sd.data.outcomes import OutcomeTable, read_outcomes
from adaptive_sd.decision.calibration import Interval
from adaptive_sd.offline.replay.seen import find_overlap, unread
from adaptive_sd.offline.studies.sweep import SweepPoint


class Study(NamedTuple):
    """An artifact, and the prompts of a table that it is reported on."""

    artifact: Artifact
    table: OutcomeTable

    @property
    def names(self) -> list[str]:
        return [stage.name for stage in self.artifact.stages]


def read_study(table: Path, artifact: Path) -> Study:
    """The prompts that can measure the artifact; raises DataError as `find_overlap` does."""
    fitted = load_artifact(artifact)
    outcomes = read_outcomes(table, without=unread(fitted))
    return Study(fitted, outcomes.take(find_overlap(fitted, outcomes).measurable))


def point_json(point: SweepPoint) -> dict[str, object]:
    """As a JSON object; intervals as [value, low, high]."""
    return {
        key: list(value) if isinstance(value, Interval | tuple) else value
        for key, value in point._asdict().items()
    }


def point_text(point: SweepPoint) -> str:
    return (
        f"quality {point.quality:.3f}, against largest {point.difference:+.3f}, "
        f"cost ratio {point.ratio:.2f}"
    )
