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
from adaptive_sd.decision.loss import loss_of
from adaptive_sd.decision.policies import Evidence
from adaptive_sd.offline.answers import prompt_views
from adaptive_sd.offline.reference import firsts_of
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
    artifact: Artifact, table: OutcomeTable, *, num_orders: int, rng: np.random.Generator
) -> int:
    """Of streams of the prompts of `table`, each once, in orders drawn anew.

    They are compared with the artifact's own reference, as live: `table` has prompts like those of
    the fit, which did not see them. Only forms that it knows are watched.
    """
    assert artifact.reference is not None  # a fit has one where it knows any form
    firsts = firsts_of(artifact.policy, seen_by(artifact, table), artifact.recommended_lam)
    views = prompt_views(table)
    known = [f for f, v in zip(firsts, views, strict=True) if v.form in artifact.forms]
    orders = (rng.permutation(len(known)).tolist() for _ in range(num_orders))
    return sum(_alarms(artifact.reference, [known[n] for n in order]) for order in orders)


def false_alarms_ahead(
    reference: Reference, *, num_streams: int, num_answers: int, rng: np.random.Generator
) -> int:
    """Of streams of any length, where chances are as likely as the reference leaves them."""
    streams = (_likely(reference, num_answers, rng) for _ in range(num_streams))
    return sum(_alarms(reference, stream) for stream in streams)


def _likely(reference: Reference, count: int, rng: np.random.Generator) -> list[First]:
    """Kinds, and whether drafts escalate, of chances that are drawn anew (Dirichlet, 1/2 each)."""
    counts = np.array([reference.scores[stage][place] for stage, place in reference.kinds])
    num_on, num_all = reference.num_escalated, reference.num_firsts
    kinds = rng.choice(len(counts), size=count, p=rng.dirichlet(counts + 0.5)).tolist()
    on = rng.random(count) < rng.beta(num_on + 0.5, num_all - num_on + 0.5)
    return [
        First(stage, _quality_in(reference.edges[stage], place), escalates)
        for (stage, place), escalates in zip(
            (reference.kinds[kind] for kind in kinds), on.tolist(), strict=True
        )
    ]


def _quality_in(edges: tuple[float, ...], place: int) -> float | None:
    """One that falls into this bin of scores, the last of which is of abandoned drafts."""
    return (0.0, *edges, None)[place]


def _alarms(reference: Reference, firsts: Sequence[First]) -> bool:
    watch = DriftWatch(reference, reference.lam)
    for first in firsts:
        watch.add(first)
    return watch.alarm is not None


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
        return float(loss_of(self.cost[answers], self.quality[answers], self.lam).mean())


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
