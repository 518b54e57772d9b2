"""One prompt's full history, and its JSON form as `answer --json` prints it."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from adaptive_sd.forms import Form
from adaptive_sd.types import Action, CostUnit, Decision


def told_cost(cost: float) -> str:
    """For people: three digits, since it may be of minutes or of a thousandth of a cent."""
    return f"{cost:.3g}" if cost < 1000 else f"{cost:.0f}"


@dataclass(frozen=True, slots=True)
class Alternative:
    """What is expected of stopping (`stage` None), or of running a stage and following the rule.

    Around lambdas where the fit did better so, following means to stop: see StateFit.
    `quality` is that of the answer in the end, `gain` what it is above that of stopping (None where
    nothing could be returned yet), `cost` is from here on; loss = cost + lambda * (1 - quality).
    `fits`: what the request may cost and take allows it.
    """

    stage: str | None
    quality: float
    gain: float | None
    cost: float
    loss: float
    fits: bool


@dataclass(frozen=True, slots=True)
class Why:
    """What a decision rests on; a rule that compares nothing has no alternatives."""

    reason: str
    alternatives: tuple[Alternative, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """What one stage did and what the policy made of it; `quality` is the estimate in [0, 1].

    `tokens_out` counts all votes that the stage sampled. `alternatives` are those of the decision
    that was made after it, of a skipped stage of the one that skipped it.
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
    alternatives: tuple[Alternative, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer returned (with recall: not always the last draft), and how it came about.

    `cost` is token counts times the stages' rates, in `cost_unit`; `latency_s` is wall time.
    `degraded`: what the request may cost and take kept a stage from running or to its end, or one
    failed that is larger than the stage whose draft is returned; `degraded_by` has that in words.
    `cut`: the text is the beginning of a draft, all there was when a cap ended it.
    `abstained`: the draft that would be returned, of `stage`, is not good enough; there is no text.
    `form` is what the prompt was taken for, `opening` the decision before the first draft.
    `quality` is the chance of being right or, where the ladder was calibrated without labels,
    agreement with what the stage `agreement_with` would answer.
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
    opening: Why = Why("")
    agreement_with: str | None = None
    cut: bool = False
    degraded_by: str | None = None
    form: Form = Form.OPEN

    def to_json(self) -> dict[str, object]:
        """The document of `answer --json`; fields are only ever added."""
        document = asdict(self)
        document["lambda"] = document.pop("lam")
        document["trace"] = document.pop("trace")  # last, for people
        return document
