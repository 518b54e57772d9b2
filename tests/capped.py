"""A ladder of scripted stages whose expectations may be wrong, and a clock that they move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from adaptive_sd.cascade import Cascade
from adaptive_sd.decision.features import PromptView
from adaptive_sd.decision.known_p import KnownPPolicy, PooledPrior
from adaptive_sd.decision.policies import Choice, Evidence, HeldDraft, best_held, choose
from adaptive_sd.engines.fake import FakeEngine
from adaptive_sd.judge import cost_of
from adaptive_sd.stage import Stage
from adaptive_sd.types import Draft, Message, Observer, Progress, Sampling, Work
from tests.ladder import RATES
from tests.test_cascade import NAMES, ScriptedJudge

SIZES = (0.5, 1.5, 7.0)
OF_STAGE = tuple(RATES.values())


class Clock:
    """Tells the time that it was set to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class SlowEngine(FakeEngine):
    """Each token takes `token_s` of the clock."""

    clock: Clock
    token_s = 0.0

    def generate(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        observer: Observer | None = None,
        **rest: Any,
    ) -> Draft:
        def observe(progress: Progress) -> bool:
            self.clock.now_s += self.token_s
            return observer is None or observer(progress)

        return super().generate(messages, sampling, observer=observe, **rest)


class Ladder(NamedTuple):
    """What a prompt would meet: expectations may be far from what comes."""

    lengths: tuple[int, ...]
    qualities: tuple[float, ...]
    expected: tuple[float, ...]
    savings: tuple[float, ...] = (0.0, 0.0, 0.0)


class PricedJudge(ScriptedJudge):
    """The textbook rule on `ladder`; costs are token counts times the stages' rates."""

    def __init__(self, ladder: Ladder) -> None:
        super().__init__((0,), 0)
        self.ladder = ladder
        self.policy = KnownPPolicy(PooledPrior(), SIZES, ladder.expected)

    def judge(self, prompt: PromptView, stage: int, draft: Draft) -> HeldDraft:
        return replace(super().judge(prompt, stage, draft), quality=self.ladder.qualities[stage])

    def decide(self, evidence: Evidence, lam: float) -> Choice:
        """The prior itself knows of nothing that was abandoned."""
        found = self.policy.decide(replace(evidence, affordable=None), lam)
        left = [p for p in found.prospects if p.stage is None or p.stage > evidence.abandoned]
        returned = best_held(evidence).stage if evidence.held else None
        return choose(evidence, found.qualities, returned, tuple(left))

    def draft_costs(self, evidence: Evidence) -> dict[int, float]:
        found = self.policy.draft_costs(evidence)
        return {stage: cost for stage, cost in found.items() if stage > evidence.abandoned}

    def saved(self, evidence: Evidence, stage: int, progress: Progress, lam: float) -> float:
        return self.ladder.savings[stage]

    def cost(self, stage: int, draft: Draft | Work) -> float:
        return cost_of(draft, OF_STAGE[stage])


def cascade_of(
    ladder: Ladder, clock: Clock | None = None, token_s: Sequence[float] = (0.0, 0.0, 0.0)
) -> Cascade:
    stages = []
    for name, length, each_s in zip(NAMES, ladder.lengths, token_s, strict=True):
        text = " ".join([name, *(f"word{i}" for i in range(1, length))])
        engine = SlowEngine(name, lambda _, text=text: text, rates=RATES[name])  # type: ignore[misc]
        engine.clock, engine.token_s = clock or Clock(), each_s
        stages.append(Stage(name, load=lambda engine=engine: engine))  # type: ignore[misc]
    return Cascade(stages, PricedJudge(ladder), clock=engine.clock)


def is_cut_alone(reason: str) -> bool:
    """Of a step's reason: its draft was cut, and nothing else is held."""
    return reason.startswith("cut at") and "nothing else is held" in reason
