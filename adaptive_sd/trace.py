"""One prompt's full history, and its JSON form as `answer --json` prints it."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from adaptive_sd.types import Action, CostUnit, Decision


@dataclass(frozen=True, slots=True)
class Step:
    """What one stage did and what the policy made of it; `quality` is the estimate in [0, 1].

    `tokens_out` counts all votes that the stage sampled.
    """

    stage: str
    action: Action
    quality: float | None = None
    decision: Decision | None = None
    reason: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    num_drafted: int = 0
    num_accepted: int = 0
    num_spans: int = 0
    latency_s: float = 0.0
    cost: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer returned (with recall: not always the last draft), and how it came about.

    `cost` is token counts times the stages' rates, in `cost_unit`; `latency_s` is wall time.
    """

    trace_id: str
    text: str | None
    stage: str
    stage_index: int
    quality: float
    cost: float
    cost_unit: CostUnit
    latency_s: float
    lam: float
    abstained: bool
    degraded: bool
    calibrated: bool
    trace: tuple[Step, ...]

    def to_json(self) -> dict[str, object]:
        """The document of `answer --json`; fields are only ever added."""
        document = asdict(self)
        document["lambda"] = document.pop("lam")
        document["trace"] = document.pop("trace")  # last, for people
        return document
