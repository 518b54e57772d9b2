"""What a policy sees and says, and the policies that need no fit over outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.errors import ConfigError
from adaptive_sd.types import Decision


@dataclass(frozen=True, slots=True, eq=False)
class HeldDraft:
    """A draft that could be returned; `answer` is canonical, "" when there is none.

    `quality` is the estimate from this draft alone.
    """

    stage: int
    quality: float
    features: NDArray[np.float32]  # (256,)
    answer: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What a policy sees: the prompt and the drafts so far, by ascending stage.

    `covered` is whether prompts of this form were recorded, so that a fit can speak of it. Stages
    up to `abandoned`, the last one whose draft was (-1: none), do not run again.
    """

    features: NDArray[np.float32]  # (num_prompt_features,)
    held: tuple[HeldDraft, ...] = ()
    covered: bool = True
    abandoned: int = -1


class Choice(NamedTuple):
    """ESCALATE: `stage` runs next. STOP: the draft of `stage` is returned.

    `qualities` are the estimates of the drafts held, from all evidence. Values are expected losses
    from here on: of stopping, and of going on with each larger stage. `note` is the reason of a
    rule that compares no losses.
    """

    decision: Decision
    stage: int
    qualities: tuple[float, ...]
    value_stop: float
    values_go: tuple[tuple[int, float], ...]
    note: str = ""


class StoppingPolicy(Protocol):
    """Decides before the first draft and after each; `lam` is the weight of quality."""

    def decide(self, evidence: Evidence, lam: float) -> Choice: ...


def choose(
    qualities: tuple[float, ...],
    returned: int | None,
    value_stop: float,
    values_go: tuple[tuple[int, float], ...],
) -> Choice:
    """The least expected loss; ties stop, and go on to the smaller stage."""
    best = min(values_go, key=lambda pair: pair[1], default=None)
    if best is not None and (returned is None or best[1] < value_stop):
        return Choice(Decision.ESCALATE, best[0], qualities, value_stop, values_go)
    assert returned is not None  # with nothing held every stage can still run
    return Choice(Decision.STOP, returned, qualities, value_stop, values_go)


def reason_of(choice: Choice, names: Sequence[str]) -> str:
    """The comparison that a choice rests on, in words and numbers."""
    if choice.note:
        return choice.note
    going = ", ".join(f"{names[stage]} {loss:.3g}" for stage, loss in choice.values_go)
    if not choice.qualities:
        return f"expected loss of beginning with {going}"
    if not going:
        return "no larger stage is left"
    return f"expected loss of stopping {choice.value_stop:.3g}, of going on to {going}"


def best_held(evidence: Evidence) -> HeldDraft:
    """The draft of the highest estimated quality; ties to the later stage."""
    return max(evidence.held, key=lambda held: (held.quality, held.stage))


def check_lam(lam: float) -> None:
    if not 0 <= lam < np.inf:
        raise ConfigError(f"lambda is {lam}; it must be finite and at least 0.")


@dataclass(frozen=True, slots=True)
class FixedPolicy:
    """Always one stage."""

    stage: int
    note: str = "always this stage"

    def decide(self, evidence: Evidence, lam: float) -> Choice:
        check_lam(lam)
        qualities = tuple(held.quality for held in evidence.held)
        decision = Decision.STOP if evidence.held else Decision.ESCALATE
        return Choice(decision, self.stage, qualities, np.inf, (), self.note)


@dataclass(frozen=True, slots=True)
class ThresholdPolicy:
    """A chain of stages: stop at the first draft whose quality reaches its stage's threshold.

    Has one threshold fewer than stages, since the last one always stops; no recall.
    """

    stages: tuple[int, ...]
    thresholds: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.thresholds) != len(self.stages) - 1:
            raise ConfigError(
                f"{len(self.stages)} stages take {len(self.stages) - 1} thresholds, "
                f"not {len(self.thresholds)}."
            )

    def decide(self, evidence: Evidence, lam: float) -> Choice:
        check_lam(lam)
        if not evidence.held:
            return Choice(Decision.ESCALATE, self.stages[0], (), np.inf, (), "first of the chain")
        held = evidence.held[-1]
        qualities = tuple(h.quality for h in evidence.held)
        loss = lam * (1 - held.quality)
        if held.stage == self.stages[-1]:
            return Choice(Decision.STOP, held.stage, qualities, loss, (), "no larger stage is left")
        place = self.stages.index(held.stage)
        threshold = self.thresholds[place]
        note = f"quality {held.quality:.2f} against threshold {threshold:.2f}"
        if held.quality >= threshold:
            return Choice(Decision.STOP, held.stage, qualities, loss, (), note)
        return Choice(Decision.ESCALATE, self.stages[place + 1], qualities, loss, (), note)
