"""The judge of one prompt on an online ladder, and what is learned of its answer."""

from __future__ import annotations

from dataclasses import replace

from adaptive_sd.decision.calibration import logit
from adaptive_sd.decision.drift import First
from adaptive_sd.decision.features import PromptView
from adaptive_sd.decision.observed import Compared, Estimate, Observed
from adaptive_sd.decision.policies import Choice, Evidence, FixedPolicy, HeldDraft, Prospect
from adaptive_sd.decision.recalibration import Shift
from adaptive_sd.ladder import LearnableJudge
from adaptive_sd.types import Acceptance, CostUnit, Decision, Draft, Progress, Work


class Asked:
    """As the ladder's judge, with shifted estimates of drafts.

    With a chance to `explore` the last stage runs also where the policy stops, and the likelier
    of its draft and the others is returned. `answers` decides in the policy's place. Only what is
    asked `as_fitted`, as the fit's prompts were, says something of drift, and of agreement: else
    limits would choose which drafts count, and no draws make up for those that they stop.
    """

    def __init__(
        self,
        judge: LearnableJudge,
        shifts: tuple[Shift, ...],
        explore: float | None,
        answers: FixedPolicy | None,
        *,
        as_fitted: bool,
    ) -> None:
        self._judge = judge
        self._shifts = shifts
        self._explore = explore
        self._answers = answers
        self._as_fitted = as_fitted
        self._raw: tuple[HeldDraft, ...] = ()
        """As fitted, in the order of the evidence's."""
        self._first: First | None = None
        self._explored = False

    @property
    def cost_unit(self) -> CostUnit:
        return self._judge.cost_unit

    def begin(self, prompt: PromptView) -> Evidence:
        evidence = self._judge.begin(prompt)
        if not evidence.covered:  # not the fit's estimates, of which something was learned
            self._shifts = (Shift(),) * len(self._shifts)
        return evidence

    def judge(self, prompt: PromptView, stage: int, draft: Draft) -> HeldDraft:
        held = self._judge.judge(prompt, stage, draft)
        self._raw = (*self._raw, held)
        return replace(held, shift=held.shift + self._shifts[stage].added(_odds(held)))

    def decide(self, evidence: Evidence, lam: float) -> Choice:
        if not evidence.covered:
            return self._judge.decide(evidence, lam)
        if self._answers is not None:
            return self._answers.decide(evidence, lam)
        if self._explored:
            return self._likeliest(evidence, lam)
        choice = self._judge.decide(evidence, lam)
        self._note_first(evidence, choice, lam)
        return self._run_on(evidence, choice) if self._runs_on(evidence, choice) else choice

    def saved(self, evidence: Evidence, stage: int, progress: Progress, lam: float) -> float:
        """A draft that is to be learned from is not abandoned."""
        return 0.0 if self._explored else self._judge.saved(evidence, stage, progress, lam)

    def acceptance(self, drafted: int, target: int, prompt: PromptView) -> Acceptance:
        return self._judge.acceptance(drafted, target, prompt)

    def draft_costs(self, evidence: Evidence) -> dict[int, float]:
        return self._judge.draft_costs(evidence)

    def cost(self, stage: int, draft: Draft | Work) -> float:
        return self._judge.cost(stage, draft)

    def _note_first(self, evidence: Evidence, choice: Choice, lam: float) -> None:
        """What the fit makes of the first draft, whatever was learned since."""
        if self._first is not None or not self._as_fitted:
            return
        if self._raw:
            as_fitted = choice
            if self._shifts[self._raw[0].stage] != Shift():
                as_fitted = self._judge.decide(replace(evidence, held=self._raw), lam)
            escalates = as_fitted.decision is Decision.ESCALATE
            self._first = First(self._raw[0].stage, self._raw[0].told, escalates)
        elif evidence.abandoned >= 0:
            self._first = First(evidence.abandoned, None, escalates=True)

    def _runs_on(self, evidence: Evidence, choice: Choice) -> bool:
        last = max([evidence.abandoned, *(held.stage for held in evidence.held)], default=-1)
        return (
            self._explore is not None
            and choice.decision is Decision.STOP
            and last < self._judge.top
            and evidence.affords(self._judge.top)
        )

    def _run_on(self, evidence: Evidence, choice: Choice) -> Choice:
        self._explored = True
        note = f"drawn by chance to run on, where it would stop at {choice.prospects[0].loss:.3g}"
        return choice._replace(decision=Decision.ESCALATE, stage=self._judge.top, note=note)

    def _likeliest(self, evidence: Evidence, lam: float) -> Choice:
        """Chains cannot speak of a stage that is not in them."""
        qualities = self._judge.estimates(evidence)
        best = max(range(len(qualities)), key=lambda place: (qualities[place], place))
        note = f"run on by chance; the likelier draft is returned: {qualities[best]:.2f}"
        stage = evidence.held[best].stage
        stopping = Prospect.of(None, qualities[best], 0.0, lam)
        return Choice(Decision.STOP, stage, qualities, (stopping,), note)

    def observed(
        self, stage: int | None, quality: float, lam: float, evidence: Evidence
    ) -> Observed:
        """Of an answer that is the draft of `stage`, with the estimate that was told.

        None: it abstained.
        """
        returned = None if stage is None else self._returned(stage, quality)
        compared = self._compared(replace(evidence, held=self._raw)) if self._as_fitted else ()
        return Observed(lam, self._explored, self._first, returned, compared)

    def _returned(self, stage: int, quality: float) -> Estimate:
        raw = next(held for held in self._raw if held.stage == stage)
        odds = _odds(raw)
        return Estimate(stage, odds, float(logit(quality)) - self._shifts[stage].odds(odds))

    def _compared(self, evidence: Evidence) -> tuple[Compared, ...]:
        """All drafts but the last, with the estimates as fitted."""
        held = evidence.held
        later = self._judge.estimates(evidence)
        found = []
        for place, draft in enumerate(held[:-1]):
            before = self._judge.estimates(replace(evidence, held=held[: place + 1]))[-1]
            odds = _odds(draft)
            estimate = Estimate(draft.stage, odds, float(logit(before)) - odds)
            by_chance = self._explored and place == len(held) - 2
            propensity = self._explore if by_chance and self._explore else 1.0
            found.append(Compared(estimate, later[place], propensity))
        return tuple(found)


def _odds(held: HeldDraft) -> float:
    """Log odds of the estimate from this draft alone."""
    return float(logit(held.told))
