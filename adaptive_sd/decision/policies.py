"""Stopping policies: after each draft, and before the first, stop, skip or escalate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.stopping import optimal_stopping_rule
from adaptive_sd.errors import ConfigError
from adaptive_sd.types import Decision


@dataclass(frozen=True, slots=True)
class HeldDraft:
    """A draft that was made: its stage, estimated quality, comparable answer ("" if none),

    and its tokens (in, out).
    """

    stage: int
    quality: float
    answer: str = ""
    num_tokens: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What a policy sees: prompt features (NUM_PROMPT_FEATURES,) and drafts by ascending stage."""

    prompt: NDArray[np.float32]
    held: tuple[HeldDraft, ...] = ()


class Choice(NamedTuple):
    """ESCALATE: `stage` runs next, those between are skipped. STOP: its draft is returned.

    `reason` compares, in words, the expected losses that the choice rests on.
    """

    decision: Decision
    stage: int
    reason: str


class StoppingPolicy(Protocol):
    """Decides; knows the ladder by stage indices only."""

    def decide(self, evidence: Evidence, lam: float) -> Choice: ...


def best_held(held: tuple[HeldDraft, ...]) -> HeldDraft:
    """The draft to return: the highest estimated quality, of equals the later stage."""
    return max(held, key=lambda h: (h.quality, h.stage))


def compare(
    stop_loss: float | None, best: HeldDraft | None, go: dict[int, float], names: tuple[str, ...]
) -> Choice:
    """Stop iff its expected loss is at most that of every way of going on."""
    stage = min(go, key=lambda j: (go[j], j)) if go else None
    if best is not None and stop_loss is not None:
        if stage is None:
            return Choice(Decision.STOP, best.stage, "no larger stage is left")
        if stop_loss <= go[stage]:
            return Choice(
                Decision.STOP,
                best.stage,
                f"stopping loses {stop_loss:.2f}, {names[stage]} would lose {go[stage]:.2f}",
            )
    assert stage is not None  # before the first draft there is a stage to run
    losses = ", ".join(f"{names[j]} {loss:.2f}" for j, loss in go.items())
    stopping = "" if stop_loss is None else f"stopping loses {stop_loss:.2f}, "
    return Choice(Decision.ESCALATE, stage, f"{stopping}going on: {losses}")


def check_lam(lam: float, top: float = np.inf) -> None:
    """Raises ConfigError for a lambda that the policy was not fitted for."""
    if not 0 <= lam <= top or not np.isfinite(lam):
        raise ConfigError(f"lambda is {lam}; this policy knows 0 to {top:.6g}.")


@dataclass(frozen=True, slots=True, eq=False)
class KnownPPolicy:
    """Chances estimated from the evidence so far, treated as known, solved again each time.

    For ladders that nothing was fitted for. The chance of a later stage is pooled from recordings
    of another ladder: sigmoid(base + slope * logit(quality of the draft)); costs (K,) are of one
    answer of each stage. It skips nothing.
    """

    names: tuple[str, ...]
    costs: tuple[float, ...]
    base: float
    slope: float

    def decide(self, evidence: Evidence, lam: float) -> Choice:
        check_lam(lam)
        if not evidence.held:
            return Choice(Decision.ESCALATE, 0, "the first stage drafts")
        last, best = evidence.held[-1].stage, best_held(evidence.held)
        later = range(last + 1, len(self.names))
        chance = self.later_chance(best.quality)
        p = [best.quality, *(max(chance, best.quality) for _ in later)]
        solved = optimal_stopping_rule(p, [0.0, *(self.costs[j] for j in later)], lam)
        go = {j: float(loss) for j, loss in zip(later, solved.J[1:], strict=True)}
        choice = compare(float(solved.J[0]), best, go, self.names)
        if choice.decision is Decision.ESCALATE:
            return choice._replace(stage=last + 1)
        return choice

    def later_chance(self, quality: float) -> float:
        """Chance that a larger stage is right, given the estimate of the draft at hand."""
        return float(1 / (1 + np.exp(-(self.base + self.slope * logit(quality)))))


def logit(quality: float) -> float:
    """Log odds, bounded."""
    bounded = min(max(quality, 1e-4), 1 - 1e-4)
    return float(np.log(bounded / (1 - bounded)))
