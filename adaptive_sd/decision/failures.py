"""What a ladder does where stages have failed: no policy was fitted for that."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from adaptive_sd.decision.policies import Choice, Evidence, best_held
from adaptive_sd.types import Decision


class Failures:
    """The stages of one answer that have failed, and how the ladder goes on without them."""

    def __init__(self, decide: Callable[[Evidence], Choice], num_stages: int) -> None:
        self._decide = decide
        self._num_stages = num_stages
        self._failed: set[int] = set()
        self.is_spare = False
        """Whether the last choice runs a stage that the policy did not weigh there."""

    def decide(self, evidence: Evidence) -> Choice:
        """What the policy says, if the stages that have failed leave it that choice.

        Else the least of the other losses that it compared. A rule that compared none, and one
        whose stages have all failed, goes on to the next larger stage; then, or where there is
        none, the best draft held is returned.
        """
        choice = self._next(evidence)
        assert choice is not None  # a stage has just answered, or none has failed
        return choice

    def without(self, stage: int, evidence: Evidence) -> Choice | None:
        """As `decide` now that `stage` has failed too; None where nothing can answer.

        With no larger stage and nothing held, the largest one runs that has not failed.
        """
        self._failed.add(stage)
        self.is_spare = False
        return self._next(evidence)

    def is_degraded(self, returned: int) -> bool:
        """Whether a stage failed that is larger than the one whose draft is returned."""
        return any(stage > returned for stage in self._failed)

    def _next(self, evidence: Evidence) -> Choice | None:
        if self.is_spare:
            self.is_spare = False
            return _choice(evidence, Decision.STOP, best_held(evidence).stage)
        choice = self._decide(evidence)
        return self._among_compared(choice, evidence) or self._spare(evidence)

    def _among_compared(self, choice: Choice, evidence: Evidence) -> Choice | None:
        held = [draft.stage for draft in evidence.held]
        stops = choice.decision is Decision.STOP
        if choice.stage in held if stops else choice.stage not in self._failed:
            return choice
        going = tuple(pair for pair in choice.values_go if pair[0] not in self._failed)
        if going:
            stage, value = min(going, key=lambda pair: pair[1])
            if not held or value < choice.value_stop:
                return choice._replace(stage=stage, values_go=going)
        if held and choice.values_go:
            best = held[len(held) - 1 - int(np.argmax(choice.qualities[::-1]))]
            return choice._replace(decision=Decision.STOP, stage=best, values_go=going)
        return None

    def _spare(self, evidence: Evidence) -> Choice | None:
        left = [stage for stage in range(self._num_stages) if stage not in self._failed]
        larger = [stage for stage in left if stage > max(self._failed)]
        if evidence.held and not larger:
            return _choice(evidence, Decision.STOP, best_held(evidence).stage)
        if not left:
            return None
        self.is_spare = True
        return _choice(evidence, Decision.ESCALATE, larger[0] if larger else left[-1])


def _choice(evidence: Evidence, decision: Decision, stage: int) -> Choice:
    qualities = tuple(held.quality for held in evidence.held)
    note = "the stages that the policy would choose have failed"
    return Choice(decision, stage, qualities, float("inf"), (), note)
