"""Judges of drafts: fitted for this ladder, or by a prior for any ladder."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from adaptive_sd.artifact import Artifact, Prior
from adaptive_sd.decision.features import DraftView, PromptView, extract_features, prompt_features
from adaptive_sd.decision.known_p import KnownPPolicy
from adaptive_sd.decision.policies import Choice, Evidence, HeldDraft
from adaptive_sd.forms import canonical_answer
from adaptive_sd.trace import CostUnit
from adaptive_sd.types import Acceptance, Draft, Rates


class FittedJudge:
    """Decides with what was fitted on recordings of this very ladder."""

    calibrated = True
    cost_unit: CostUnit = "s"
    how_to_calibrate = ""

    def __init__(self, artifact: Artifact) -> None:
        self._artifact = artifact
        self.recommended_lam = artifact.recommended_lam
        self.lam_origin = artifact.lam_origin

    def begin(self, prompt: PromptView) -> Evidence:
        return Evidence(prompt_features(prompt))

    def judge(self, prompt: PromptView, stage: int, draft: Draft) -> HeldDraft:
        answer = canonical_answer(draft.text, prompt.form)
        view = DraftView.of(draft, answer)
        features = extract_features(view, prompt, self._artifact.projections[stage])
        quality = self._artifact.predictors[stage].predict(features)
        return HeldDraft(stage, quality, features, answer)

    def decide(self, evidence: Evidence, lam: float) -> Choice:
        return self._artifact.policy.decide(evidence, lam)

    def acceptance(self, drafted: int, target: int, prompt: PromptView) -> Acceptance:
        return self._artifact.acceptance.get((drafted, target, prompt.form), Acceptance())

    def cost(self, stage: int, draft: Draft) -> float:
        rates = self._artifact.stages[stage].rates
        assert rates is not None  # an artifact of a recorded ladder has them
        return cost_of(draft, rates)


class PriorJudge:
    """Decides by evidence pooled over the stages of another ladder; not calibrated.

    A stage is expected to cost what the recorded answers' token counts would at its own rates.
    """

    calibrated = False
    cost_unit: CostUnit = "s"
    how_to_calibrate = (
        "record this ladder on prompts of yours (`adaptive-sd record`), then `adaptive-sd export` "
        "and `adaptive-sd fit`"
    )
    lam_origin = "the largest at which the smallest stage still comes first"

    def __init__(self, prior: Prior, sizes: Sequence[float], rates: Callable[[int], Rates]) -> None:
        """`sizes` in billions of parameters; `rates` measures a stage when it must."""
        self._prior = prior
        self._sizes = tuple(sizes)
        self._rates = rates
        self._policy: KnownPPolicy | None = None

    @property
    def policy(self) -> KnownPPolicy:
        if self._policy is None:  # measuring rates takes seconds: not before the first prompt
            tokens = (self._prior.tokens_in, self._prior.tokens_out)
            costs = tuple(self._rates(k).draft_s(*tokens) for k in range(len(self._sizes)))
            self._policy = KnownPPolicy(self._prior.chances, self._sizes, costs)
        return self._policy

    @property
    def recommended_lam(self) -> float:
        return self.policy.recommended_lam

    def begin(self, prompt: PromptView) -> Evidence:
        return Evidence(prompt_features(prompt))

    def judge(self, prompt: PromptView, stage: int, draft: Draft) -> HeldDraft:
        answer = canonical_answer(draft.text, prompt.form)
        features = extract_features(DraftView.of(draft, answer), prompt)
        return HeldDraft(stage, self._prior.predictor.predict(features), features, answer)

    def decide(self, evidence: Evidence, lam: float) -> Choice:
        return self.policy.decide(evidence, lam)

    def acceptance(self, drafted: int, target: int, prompt: PromptView) -> Acceptance:
        return Acceptance()

    def cost(self, stage: int, draft: Draft) -> float:
        return cost_of(draft, self._rates(stage))


def cost_of(draft: Draft, rates: Rates) -> float:
    """Token counts times rates; prompt tokens that were in the KV cache cost nothing."""
    return rates.draft_s(
        draft.tokens_in - draft.num_cached,
        draft.tokens_out,
        num_drafted=draft.num_drafted,
        num_accepted=draft.num_accepted,
        num_spans=draft.num_spans,
    )
