"""Judges of drafts: fitted for this ladder, or by a prior for any ladder."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from adaptive_sd.artifact import Artifact
from adaptive_sd.decision.features import extract_features, prompt_features
from adaptive_sd.decision.policies import Choice, Evidence, HeldDraft, KnownPPolicy
from adaptive_sd.forms import Form, canonical_answer
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

    def prompt_evidence(self, prompt: str, form: Form) -> Evidence:
        return Evidence(prompt_features(form, len(prompt)))

    def judge(self, form: Form, stage: int, draft: Draft) -> HeldDraft:
        quality = self._artifact.predictors[stage].predict(extract_features(draft, form))
        return HeldDraft(stage, quality, canonical_answer(draft.text, form))

    def decide(self, evidence: Evidence, lam: float) -> Choice:
        return self._artifact.policy.decide(evidence, lam)

    def acceptance(self, drafted: int, target: int, form: Form) -> Acceptance:
        return self._artifact.acceptance.get((drafted, target, form), Acceptance())

    def cost(self, stage: int, draft: Draft) -> float:
        rates = self._artifact.stages[stage].rates
        assert rates is not None  # an artifact of a recorded ladder has them
        return cost_of(draft, rates)

    def lam_origin(self, lam: float) -> str:
        if lam == self.recommended_lam:
            return f"recommended by the artifact: {self._artifact.lam_origin}"
        return f"given; the artifact recommends {self.recommended_lam:.3g}"


class PriorJudge:
    """Decides by evidence pooled over the stages of another ladder; not calibrated.

    The cost of a later stage is that of as many tokens as the draft at hand, at its own rates.
    """

    calibrated = False
    cost_unit: CostUnit = "s"
    how_to_calibrate = (
        "record this ladder on prompts of yours (`adaptive-sd record`), then `adaptive-sd export` "
        "and `adaptive-sd fit`"
    )

    def __init__(
        self, artifact: Artifact, names: Sequence[str], rates: Callable[[int], Rates]
    ) -> None:
        self._prior = artifact.prior
        self._names = tuple(names)
        self._rates = rates
        self.recommended_lam = artifact.recommended_lam

    def prompt_evidence(self, prompt: str, form: Form) -> Evidence:
        return Evidence(prompt_features(form, len(prompt)))

    def judge(self, form: Form, stage: int, draft: Draft) -> HeldDraft:
        quality = self._prior.predictor.predict(extract_features(draft, form))
        tokens = (draft.tokens_in, draft.tokens_out)
        return HeldDraft(stage, quality, canonical_answer(draft.text, form), tokens)

    def decide(self, evidence: Evidence, lam: float) -> Choice:
        held = evidence.held
        first = held[-1].stage if held else len(self._names)
        tokens = held[-1].num_tokens if held else (0, 0)
        costs = [
            self._rates(j).draft_s(*tokens) if j > first else 0.0 for j in range(len(self._names))
        ]
        policy = KnownPPolicy(self._names, tuple(costs), self._prior.base, self._prior.slope)
        return policy.decide(evidence, lam)

    def acceptance(self, drafted: int, target: int, form: Form) -> Acceptance:
        return Acceptance()

    def cost(self, stage: int, draft: Draft) -> float:
        return cost_of(draft, self._rates(stage))

    def lam_origin(self, lam: float) -> str:
        return "of the default ladder" if lam == self.recommended_lam else "given"


def cost_of(draft: Draft, rates: Rates) -> float:
    """Token counts times rates; prompt tokens that were in the KV cache cost nothing."""
    return rates.draft_s(
        draft.tokens_in - draft.num_cached,
        draft.tokens_out,
        num_drafted=draft.num_drafted,
        num_accepted=draft.num_accepted,
        num_spans=draft.num_spans,
    )
