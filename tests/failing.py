"""Ladders some of whose stages fail, judged by any policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from adaptive_sd.cascade import Cascade
from adaptive_sd.decision.features import FEATURE_DIM, PromptView
from adaptive_sd.decision.policies import Choice, Evidence, HeldDraft
from adaptive_sd.engines.fake import FakeEngine
from adaptive_sd.errors import EndpointError
from adaptive_sd.stage import Stage
from adaptive_sd.types import Draft, Message, Observer, Progress, Rates, Sampling, Work
from tests.test_cascade import ScriptedJudge

NUM_WORDS = 40
RATES = Rates(0.001, 0.01)


class Breaking(FakeEngine):
    """Fails after `num_words` of its answer."""

    num_words = 0

    def generate(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        observer: Observer | None = None,
        **rest: Any,
    ) -> Draft:
        def observe(progress: Progress) -> bool:
            if progress.num_tokens > self.num_words:
                raise EndpointError(f"{self._name} broke")
            return observer is None or observer(progress)

        return super().generate(messages, sampling, observer=observe, **rest)


class Deciding(Protocol):
    """A policy of an artifact or of the prior."""

    def decide(self, evidence: Evidence, lam: float) -> Choice: ...

    def draft_costs(self, evidence: Evidence) -> dict[int, float]: ...


class PolicyJudge(ScriptedJudge):
    """Decides by a policy, on drafts of these qualities; stages in `saves` are abandoned."""

    def __init__(
        self, policy: Deciding, evidence: Evidence, qualities: Sequence[float], saves: set[int]
    ) -> None:
        super().__init__((0,), 0)
        self._policy, self._evidence = policy, evidence
        self._qualities, self._saves = qualities, saves

    def begin(self, prompt: PromptView) -> Evidence:
        return self._evidence

    def judge(self, prompt: PromptView, stage: int, draft: Draft) -> HeldDraft:
        features = np.zeros(FEATURE_DIM, np.float32)
        return HeldDraft(stage, self._qualities[stage], features, draft.text)

    def decide(self, evidence: Evidence, lam: float) -> Choice:
        return self._policy.decide(evidence, lam)

    def draft_costs(self, evidence: Evidence) -> dict[int, float]:
        return self._policy.draft_costs(evidence)

    def saved(self, evidence: Evidence, stage: int, progress: Progress, lam: float) -> float:
        return 0.5 if stage in self._saves else 0.0

    def cost(self, stage: int, draft: Draft | Work) -> float:
        if isinstance(draft, Work):
            return 3.0**stage * RATES.work_s(draft)
        return 3.0**stage * RATES.draft_s(draft.tokens_in, draft.tokens_out, draft.verified)


def engines_of(num_stages: int, broken: Mapping[int, int]) -> list[FakeEngine]:
    """Those in `broken` fail after so many words."""
    engines: list[FakeEngine] = []
    for stage in range(num_stages):
        text = " ".join(f"stage{stage}" for _ in range(NUM_WORDS))
        kind = Breaking if stage in broken else FakeEngine
        engines.append(kind(f"stage{stage}", lambda _, text=text: text))  # type: ignore[misc]
        if isinstance(engines[-1], Breaking):
            engines[-1].num_words = broken[stage]
    return engines


def cascade_of(engines: Sequence[FakeEngine], judge: ScriptedJudge, **options: Any) -> Cascade:
    stages = [Stage(e.info.model, load=lambda e=e: e) for e in engines]  # type: ignore[misc]
    return Cascade(stages, judge, **options)
