"""Which stages one answer may still run, by its caps and what failed, and when it is cut."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from adaptive_sd.decision.policies import Choice, Evidence, Prospect, reason_of
from adaptive_sd.ladder import PromptJudge
from adaptive_sd.trace import Alternative, Why
from adaptive_sd.types import Work


class Allowance:
    """The caps of one request, from the moment it is made, and the stages that failed in it.

    Both caps are looked at before every pass of a model and after every token, so that an answer
    exceeds them by at most one pass: 128 prompt tokens, a token, or a span that is verified. Of a
    served model the prompt counts whole when its answer begins, or is verified, and tokens that it
    does not show when its server counts them.
    """

    def __init__(
        self,
        judge: PromptJudge,
        num_stages: int,
        max_cost: float | None,
        deadline_s: float | None,
        *,
        clock: Callable[[], float],
    ) -> None:
        """`max_cost` in the judge's unit, `deadline_s` from now by `clock`; None: no such cap."""
        self._judge = judge
        self._num_stages = num_stages
        self._max_cost = max_cost
        self._deadline_s = deadline_s
        self._clock = clock
        self._start_s = clock()
        self._paid = 0.0
        self._growing = 0.0
        self._costs: dict[int, float] = {}
        self._left = math.inf
        self._fitting: frozenset[int] | None = None
        self.failed: set[int] = set()
        """Stages that do not run again."""
        self.cut = ""
        """Why the last draft was cut; empty where it was not."""

    @property
    def elapsed_s(self) -> float:
        return self._clock() - self._start_s

    def pay(self, cost: float) -> None:
        """For a draft that grows no more."""
        self._paid += cost
        self._growing = 0.0

    def limit(self, evidence: Evidence) -> Evidence:
        """With the stages that work and whose draft is expected to fit what is left.

        Where none does and nothing is held it is the cheapest: its beginning is better than none.
        Where all have failed they are those that the policy would not run, or not again.
        """
        if self._max_cost is None and self._deadline_s is None and not self.failed:
            return evidence
        self._costs = self._judge.draft_costs(evidence)
        self._left = self._find_left()
        working = self._working
        fitting = frozenset(stage for stage in working if self._costs[stage] < self._left)
        if not fitting and not evidence.held:
            cheapest = [min(working, key=self._costs.__getitem__)] if working else []
            fitting = frozenset(cheapest or set(range(self._num_stages)) - self.failed)
        self._fitting = fitting
        return replace(evidence, affordable=fitting)

    def knows(self, stage: int) -> bool:
        """Whether it was the policy's to choose `stage` at the last `limit`."""
        return not self.failed or stage in self._costs

    @property
    def _working(self) -> list[int]:
        """Of the stages of the last `limit`."""
        return [stage for stage in self._costs if stage not in self.failed]

    @property
    def is_short(self) -> bool:
        """Whether, at the last `limit`, a stage that works did not fit."""
        return self._fitting is not None and not self._fitting.issuperset(self._working)

    def fits_all_after(self, stage: int, evidence: Evidence) -> bool:
        """Whether every later stage could take over from a draft of `stage` that grows."""
        limited = self.limit(evidence)
        later = (each for each in self._costs if each > stage)
        return self.knows(stage) and all(map(limited.affords, later))

    def why(self, choice: Choice, names: Sequence[str]) -> Why:
        """What a choice among the stages of the last `limit` rests on; failed ones are none."""
        compared = tuple(p for p in choice.prospects if p.stage not in self.failed)
        choice = choice._replace(prospects=compared)
        reason = reason_of(choice, names)
        if choice.denied is not None and choice.denied not in self.failed:
            expected, left = self._costs[choice.denied], self._left
            reason += (
                f"; {names[choice.denied]} is denied: expected to cost {expected:.3g}, "
                f"and {left:.3g} is left"
            )
        least = choice.prospects[0].quality if choice.qualities and choice.prospects else None
        return Why(reason, tuple(self._told(p, names, least) for p in choice.prospects))

    def _told(self, prospect: Prospect, names: Sequence[str], least: float | None) -> Alternative:
        """`least` is the quality of stopping."""
        stage, quality, cost, loss = prospect
        gain = None if least is None else quality - least
        if stage is None:
            return Alternative(None, quality, gain, cost, loss, fits=True)
        fits = self._fitting is None or stage in self._fitting
        return Alternative(names[stage], quality, gain, cost, loss, fits)

    def allows(self, stage: int, work: Work) -> bool:
        """Whether a draft of `stage` may grow further that has taken so much; else sets `cut`."""
        if self._max_cost is not None:
            self._growing = self._judge.cost(stage, work)
            if self._paid + self._growing >= self._max_cost:
                self.cut = f"cut at the cost that the answer may have, {self._max_cost:.3g}"
        if self._deadline_s is not None and self.elapsed_s >= self._deadline_s:
            self.cut = f"cut at the deadline, {self._deadline_s:.3g} s"
        return not self.cut

    def _find_left(self) -> float:
        """Of cost; seconds that are left are as much cost where that is seconds."""
        left = math.inf
        if self._max_cost is not None:
            left = self._max_cost - self._paid - self._growing
        if self._deadline_s is not None:
            left_s = self._deadline_s - self.elapsed_s
            if left_s <= 0 or self._judge.cost_unit == "s":
                left = min(left, left_s)
        return max(left, 0.0)
