"""An online ladder on a stream of recorded prompts whose mix changes, told of some answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.artifact import Artifact, fingerprint
from adaptive_sd.cascade import Cascade
from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.calibration import expected_calibration_error
from adaptive_sd.decision.drift import DriftWatch, First, Reference
from adaptive_sd.decision.policies import Evidence
from adaptive_sd.offline.replay.field import Subject
from adaptive_sd.offline.replay.seen import seen_by
from adaptive_sd.offline.report.recorded import RecordedPrompt, RecordedStage
from adaptive_sd.online import OnDrift, Online
from adaptive_sd.trace import Answer

FloatArray = NDArray[np.float64]


class RecordedStream(RecordedPrompt):
    """The judge of one recorded prompt after the other; what a live one tells of its fit."""

    def __init__(self, subject: Subject, artifact: Artifact) -> None:
        super().__init__(subject, 0)
        self.fingerprint = fingerprint(artifact)
        self.reference = artifact.reference
        self.num_stages = len(artifact.stages)
        self.num_asked = 0
        self.top = artifact.policy.top

    def estimates(self, evidence: Evidence) -> tuple[float, ...]:
        return self.subject.policy.estimates(evidence)

    def stages(self) -> list[RecordedStage]:
        names = [stage.name for stage in self.subject.outcomes.stages]
        return [RecordedStage(self, k, name) for k, name in enumerate(names)]

    def answer(self, cascade: Cascade, row: int) -> Answer:
        """What the cascade with these stages does on prompt `row` of the table."""
        self.row = row
        self.drafted.clear()
        self.places.clear()
        self.num_asked += 1
        return cascade.answer(f"prompt {row}, as the {self.num_asked}. of a stream")


def subject_of(artifact: Artifact, table: OutcomeTable) -> Subject:
    """The artifact, and a table as its predictors see it."""
    return Subject.of(artifact, seen_by(artifact, table), table)


def false_alarms(
    firsts: Sequence[First],
    *,
    num_streams: int,
    num_answers: int,
    num_fitted: int,
    rng: np.random.Generator,
) -> int:
    """Of streams whose prompts are drawn as those of the reference: all from the same prompts."""

    def draw(count: int) -> list[First]:
        return [firsts[place] for place in rng.integers(len(firsts), size=count)]

    num_alarms = 0
    for _ in range(num_streams):
        watch = DriftWatch(Reference.of(draw(num_fitted), 1.0), 1.0)
        for first in draw(num_answers):
            watch.add(first)
        num_alarms += watch.alarm is not None
    return num_alarms


class Passed(NamedTuple):
    """A stream that has gone by; `drifted_at` counts its answers, None: no alarm."""

    quality: FloatArray  # (num_answers,), of the draft returned, as graded
    estimate: FloatArray  # as reported
    cost: FloatArray
    drifted_at: int | None
    lam: float

    def gap(self, answers: slice) -> float:
        """How much higher estimates are than qualities, in the mean."""
        return float(np.mean(self.estimate[answers] - self.quality[answers]))

    def ece(self, answers: slice) -> float:
        return expected_calibration_error(self.estimate[answers], self.quality[answers])

    def loss(self, answers: slice) -> float:
        """Mean cost + lambda * (1 - quality)."""
        return float(np.mean(self.cost[answers] + self.lam * (1 - self.quality[answers])))


def run_stream(
    artifact: Artifact,
    subject: Subject,
    rows: Sequence[int],
    *,
    told: float,
    path: Path | None,
    explore: float = 0.02,
    on_drift: OnDrift = "warn",
    seed: int = 0,
) -> Passed:
    """Prompts `rows` of the subject's table in turn; a share `told` of answers gets feedback.

    Feedback is whether the answer was graded right. Without a `path` for traces nothing is learned.
    """
    rng = np.random.default_rng(seed)
    judge = RecordedStream(subject, artifact)
    online = None
    if path is not None:
        online = Online(judge, path, explore=explore, on_drift=on_drift, seed=seed)
    cascade = Cascade(judge.stages(), judge, online=online)
    found, drifted_at = [], None
    for number, row in enumerate(rows):
        given = judge.answer(cascade, row)
        quality = float(subject.table.quality[row, given.stage_index])
        found.append((quality, given.quality, given.cost))
        if online is None:
            continue
        if rng.random() < told:
            cascade.feedback(given.trace_id, quality >= 0.5)
        if online.has_drifted and drifted_at is None:
            drifted_at = number
    quality_of, estimate, cost = np.array(found).T
    return Passed(quality_of, estimate, cost, drifted_at, cascade.lam)
