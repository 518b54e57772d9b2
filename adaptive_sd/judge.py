"""Judges of drafts: fitted for this ladder, or by a prior for any ladder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from adaptive_sd.artifact import Artifact, Prior, fingerprint
from adaptive_sd.decision.calibration import logit
from adaptive_sd.decision.features import (
    NUM_FORMS,
    DraftView,
    HiddenProjection,
    PromptView,
    extract_features,
    prompt_features,
)
from adaptive_sd.decision.known_p import KnownPPolicy
from adaptive_sd.decision.network import FittedPredictor
from adaptive_sd.decision.partial import CHECKPOINTS, Drafted, partial_statistics
from adaptive_sd.decision.policies import Choice, Evidence, FixedPolicy, HeldDraft
from adaptive_sd.forms import Form
from adaptive_sd.stage_record import unit_of
from adaptive_sd.types import Acceptance, CostUnit, Draft, Progress, Rates, Work

_RECORD = (
    "to calibrate on prompts of yours: `adaptive-sd calibrate`; or with answers to grade by, "
    "`adaptive-sd record`, then `adaptive-sd export` and `adaptive-sd fit`"
)


class FittedJudge:
    """Decides with what was fitted on recordings of this very ladder.

    On a prompt of a form that was hardly recorded the fit cannot speak: the last stage that it
    ever runs answers, or an earlier one of those where that is not affordable.
    """

    def __init__(self, artifact: Artifact) -> None:
        self._artifact = artifact
        self.cost_unit: CostUnit = unit_of(artifact.stages)
        self.recommended_lam = artifact.recommended_lam
        self.lam_origin = artifact.lam_origin
        self.certificates = artifact.certificates
        self.agreement_with = artifact.agreement_with
        self.reference = artifact.reference
        self.num_stages = len(artifact.stages)
        self.top = artifact.policy.top
        self._top = FixedPolicy(
            self.top,
            "hardly any prompt of this form was recorded, so the largest stage that runs answers",
        )

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self._artifact)

    @property
    def how_to_calibrate(self) -> str:
        forms = ", ".join(form for form in Form if form not in self._artifact.forms)
        return (
            "the artifact knows bare prompts asked greedily with the styles' own token limits"
            f"{', and none of these forms: ' + forms if forms else ''}; {_RECORD}"
        )

    def begin(self, prompt: PromptView) -> Evidence:
        return Evidence(prompt_features(prompt), covered=prompt.form in self._artifact.forms)

    def judge(self, prompt: PromptView, stage: int, draft: Draft) -> HeldDraft:
        artifact = self._artifact
        if prompt.form not in artifact.forms:
            held = judge_by_prior(artifact.prior, prompt, stage, draft)
            is_top = artifact.stages[stage].name == artifact.agreement_with
            agrees = is_top and draft.finish_reason == "stop"  # with itself, by definition
            return replace(held, quality=1.0) if agrees else held
        predictor, projection = artifact.predictors[stage], artifact.projections[stage]
        held = judge_by_fit(predictor, projection, prompt, stage, draft)
        if not artifact.shifts:
            return held
        return replace(held, shift=artifact.shifts[stage].added(float(logit(held.quality))))

    def decide(self, evidence: Evidence, lam: float) -> Choice:
        policy = self._artifact.policy if evidence.covered else self._top
        return policy.decide(evidence, lam)

    def draft_costs(self, evidence: Evidence) -> dict[int, float]:
        if evidence.covered:
            return self._artifact.policy.draft_costs(evidence)
        if evidence.held:
            return {}
        prior, stages = self._artifact.prior, self._artifact.stages
        return {
            stage: prior_cost(prior, self._rates(stage), stages[stage].votes)
            for stage in self._artifact.policy.running
        }

    def estimates(self, evidence: Evidence) -> tuple[float, ...]:
        return self._artifact.policy.estimates(evidence)

    def saved(self, evidence: Evidence, stage: int, progress: Progress, lam: float) -> float:
        if not evidence.covered or not progress.token_logprobs:
            return 0.0
        draft = Drafted(stage, CHECKPOINTS.index(progress.num_tokens))
        statistics = partial_statistics(np.array([progress.token_logprobs]))
        return self._artifact.policy.saved(evidence, draft, statistics, lam)

    def acceptance(self, drafted: int, target: int, prompt: PromptView) -> Acceptance:
        return self._artifact.acceptance.get((drafted, target, prompt.form), Acceptance())

    def cost(self, stage: int, draft: Draft | Work) -> float:
        return cost_of(draft, self._rates(stage))

    def _rates(self, stage: int) -> Rates:
        rates = self._artifact.stages[stage].rates
        assert rates is not None  # an artifact of a recorded ladder has them
        return rates


class PriorJudge:
    """Decides by evidence pooled over the stages of another ladder; not calibrated.

    A stage is expected to cost what the recorded answers' token counts would at its own rates.
    """

    how_to_calibrate = f"nothing was fitted for this ladder; {_RECORD}"
    certificates = None
    agreement_with = None
    lam_origin = "half as much again as makes a first draft of the expected quality escalate"

    def __init__(
        self,
        prior: Prior,
        sizes: Sequence[float],
        rates: Callable[[int], Rates],
        *,
        votes: Sequence[int] | None = None,
        unit: CostUnit = "s",
    ) -> None:
        """`sizes` in billions of parameters; `rates`, of this unit, measures a stage when it must.

        `votes` are each stage's, by default one.
        """
        self.cost_unit = unit
        self._prior = prior
        self._sizes = tuple(sizes)
        self._votes = tuple(votes or [1] * len(sizes))
        self._rates = rates
        self._policy: KnownPPolicy | None = None

    @property
    def policy(self) -> KnownPPolicy:
        if self._policy is None:  # measuring rates takes seconds: not before the first prompt
            costs = tuple(
                prior_cost(self._prior, self._rates(k), count)
                for k, count in enumerate(self._votes)
            )
            self._policy = KnownPPolicy(self._prior.chances, self._sizes, costs)
        return self._policy

    @property
    def recommended_lam(self) -> float:
        return self.policy.recommended_lam

    def begin(self, prompt: PromptView) -> Evidence:
        return Evidence(prompt_features(prompt), covered=False)

    def judge(self, prompt: PromptView, stage: int, draft: Draft) -> HeldDraft:
        return judge_by_prior(self._prior, prompt, stage, draft)

    def decide(self, evidence: Evidence, lam: float) -> Choice:
        return self.policy.decide(evidence, lam)

    def draft_costs(self, evidence: Evidence) -> dict[int, float]:
        return self.policy.draft_costs(evidence)

    def saved(self, evidence: Evidence, stage: int, progress: Progress, lam: float) -> float:
        return 0.0  # the prior knows whole drafts only

    def acceptance(self, drafted: int, target: int, prompt: PromptView) -> Acceptance:
        return Acceptance()

    def cost(self, stage: int, draft: Draft | Work) -> float:
        return cost_of(draft, self._rates(stage))


def judge_by_fit(
    predictor: FittedPredictor,
    projection: HiddenProjection | None,
    prompt: PromptView,
    stage: int,
    draft: Draft,
) -> HeldDraft:
    """From all evidence, by what was fitted for this stage."""
    view = DraftView.of(draft, prompt)
    features = extract_features(view, prompt, projection)
    return HeldDraft(stage, predictor.predict(features), features, view.answer)


def judge_by_prior(prior: Prior, prompt: PromptView, stage: int, draft: Draft) -> HeldDraft:
    """From the draft's tokens and text: neither hidden states nor forms carry over."""
    view = DraftView.of(draft, prompt)
    features = extract_features(view, prompt)
    features[:NUM_FORMS] = 0
    return HeldDraft(stage, prior.predictor.predict(features), features, view.answer)


def prior_cost(prior: Prior, rates: Rates, num_votes: int) -> float:
    """Expected of a draft on which nothing was recorded: a recorded answer's tokens."""
    return rates.votes_s(prior.tokens_in, [prior.tokens_out] * num_votes)


def cost_of(draft: Draft | Work, rates: Rates) -> float:
    """Token counts times rates; prompt tokens that were in the KV cache cost nothing.

    Of votes those count that were sampled for it, also if they were cut short.
    """
    if isinstance(draft, Work):
        return rates.work_s(draft)
    uncached = draft.tokens_in - draft.num_cached
    if draft.votes is None:
        return rates.draft_s(uncached, draft.num_chosen, draft.verified)
    return rates.votes_s(uncached, [vote.num_chosen for vote in draft.made])
