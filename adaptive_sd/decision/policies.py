"""What a policy sees and says, and the policies that need no fit over outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.calibration import moved
from adaptive_sd.decision.loss import loss_of
from adaptive_sd.errors import ConfigError
from adaptive_sd.types import Decision


@dataclass(frozen=True, slots=True, eq=False)
class HeldDraft:
    """A draft that could be returned; `answer` is canonical, "" when there is none.

    `quality` is the fit's estimate from this draft alone; `shift` is what feedback adds to the log
    odds of estimates of it.
    """

    stage: int
    quality: float
    features: NDArray[np.float32]  # (256,)
    answer: str = ""
    shift: float = 0.0

    @property
    def told(self) -> float:
        """The estimate from this draft alone, shifted."""
        return float(moved(self.quality, self.shift)) if self.shift else self.quality


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What a policy sees: the prompt and the drafts so far, by ascending stage.

    `covered` is whether prompts of this form were recorded, so that a fit can speak of it. Stages
    up to `abandoned`, the last one whose draft was (-1: none), do not run again. Only `affordable`
    stages run next, at least one where nothing is held; None: all are. One that the policy would
    never run is among them only where no other is.
    """

    features: NDArray[np.float32]  # (num_prompt_features,)
    held: tuple[HeldDraft, ...] = ()
    covered: bool = True
    abandoned: int = -1
    affordable: frozenset[int] | None = None

    def affords(self, stage: int) -> bool:
        return self.affordable is None or stage in self.affordable

    def instead_of(self, stage: int) -> int:
        """The affordable stage nearest to `stage`, which can be itself: a smaller one if any is."""
        if self.affordable is None:
            return stage
        return max(self.affordable, key=lambda each: (each <= stage, -abs(each - stage)))


class Prospect(NamedTuple):
    """What is expected of stopping (`stage` None), or of running a stage and following the rule.

    Around a policy's myopic lambdas following means to stop.
    `quality` is that of the answer in the end, `cost` is from here on, and
    loss = cost + lam * (1 - quality).
    """

    stage: int | None
    quality: float
    cost: float
    loss: float

    @classmethod
    def of(cls, stage: int | None, quality: float, cost: float, lam: float) -> Self:
        return cls(stage, quality, cost, loss_of(cost, quality, lam))


class Choice(NamedTuple):
    """ESCALATE: `stage` runs next. STOP: the draft of `stage` is returned.

    `qualities` are the estimates of the drafts held, from all evidence. `prospects` are what was
    compared: stopping first, where a draft is held, then the larger stages that may run. `note` is
    the reason of a rule that compares none. `denied` would be chosen if it were affordable.
    """

    decision: Decision
    stage: int
    qualities: tuple[float, ...]
    prospects: tuple[Prospect, ...] = ()
    note: str = ""
    denied: int | None = None


class StoppingPolicy(Protocol):
    """Decides before the first draft and after each; `lam` is the weight of quality."""

    def decide(self, evidence: Evidence, lam: float) -> Choice: ...


def choose(
    evidence: Evidence,
    qualities: tuple[float, ...],
    returned: int | None,
    prospects: tuple[Prospect, ...],
) -> Choice:
    """The least expected loss of what is affordable; ties stop, and go on to the smaller stage.

    `returned` is the stage whose draft stopping returns, None where there is none. Where it is none
    and nothing that was compared is affordable, another stage runs that is.
    """
    wanted = min(prospects, key=_loss)
    left = [p for p in prospects if p.stage is None or evidence.affords(p.stage)]
    if not left:
        assert wanted.stage is not None  # else it is left
        stage = evidence.instead_of(wanted.stage)
        return Choice(Decision.ESCALATE, stage, qualities, prospects, denied=wanted.stage)
    best = min(left, key=_loss)
    denied = None if best is wanted else wanted.stage
    if best.stage is not None:
        return Choice(Decision.ESCALATE, best.stage, qualities, prospects, denied=denied)
    assert returned is not None  # only then there is a prospect of stopping
    return Choice(Decision.STOP, returned, qualities, prospects, denied=denied)


def _loss(prospect: Prospect) -> float:
    return prospect.loss


def reason_of(choice: Choice, names: Sequence[str]) -> str:
    """The comparison that a choice rests on, in words and numbers."""
    if choice.note:
        return choice.note
    going = ", ".join(
        f"{names[p.stage]} {p.loss:.3g}" for p in choice.prospects if p.stage is not None
    )
    if not choice.qualities:
        return f"expected loss of beginning with {going}"
    if not going:
        return "no larger stage is left"
    return f"expected loss of stopping {choice.prospects[0].loss:.3g}, of going on to {going}"


def best_held(evidence: Evidence) -> HeldDraft:
    """The draft of the highest estimated quality; ties to the later stage."""
    return max(evidence.held, key=lambda held: (held.told, held.stage))


def check_lam(lam: float) -> None:
    if not 0 <= lam < np.inf:
        raise ConfigError(f"lambda is {lam}; it must be finite and at least 0.")


@dataclass(frozen=True, slots=True)
class FixedPolicy:
    """Always one stage; where it is not affordable, another near it: see Evidence.instead_of."""

    stage: int
    note: str = "always this stage"

    def decide(self, evidence: Evidence, lam: float) -> Choice:
        check_lam(lam)
        if evidence.held:
            (held,) = evidence.held
            stopping = Prospect.of(None, held.told, 0.0, lam)
            return Choice(Decision.STOP, held.stage, (held.told,), (stopping,), self.note)
        stage = evidence.instead_of(self.stage)
        denied = None if stage == self.stage else self.stage
        return Choice(Decision.ESCALATE, stage, (), (), self.note, denied)


@dataclass(frozen=True, slots=True)
class ThresholdPolicy:
    """A chain of stages: stop at the first draft whose quality reaches its stage's threshold.

    Has one threshold fewer than stages, since the last one always stops; no recall. It does not
    ask what is affordable.
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
            note = "first of the chain" if self.thresholds else "this stage alone answers"
            return Choice(Decision.ESCALATE, self.stages[0], (), note=note)
        held = evidence.held[-1]
        qualities = tuple(h.told for h in evidence.held)
        told = (Prospect.of(None, held.told, 0.0, lam),)
        if held.stage == self.stages[-1]:
            return Choice(Decision.STOP, held.stage, qualities, told, "no larger stage is left")
        place = self.stages.index(held.stage)
        threshold = self.thresholds[place]
        note = f"quality {held.told:.2f} against threshold {threshold:.2f}"
        if held.told >= threshold:
            return Choice(Decision.STOP, held.stage, qualities, told, note)
        return Choice(Decision.ESCALATE, self.stages[place + 1], qualities, told, note)
