"""The drafts and steps of one prompt while it is answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from adaptive_sd.allowance import Allowance
from adaptive_sd.decision.features import PromptView
from adaptive_sd.decision.partial import CHECKPOINTS
from adaptive_sd.decision.policies import Choice, Evidence, HeldDraft, Prospect
from adaptive_sd.errors import CancelledError, EndpointError
from adaptive_sd.ladder import LadderStage, PromptJudge
from adaptive_sd.prompt import Prompt
from adaptive_sd.request import Request
from adaptive_sd.trace import Step, Why
from adaptive_sd.types import Action, Decision, Draft, Observer, Progress, Work


class Run:
    """The drafts and steps of one prompt while the loop goes on."""

    def __init__(
        self,
        stages: Sequence[LadderStage],
        judge: PromptJudge,
        prompt: Prompt,
        view: PromptView,
        request: Request,
        lam: float,
        allowance: Allowance,
        on_text: Callable[[str], None] | None,
        keep_going: Callable[[], bool] | None,
    ) -> None:
        self._stages = stages
        self._judge = judge
        self._names = [stage.name for stage in stages]
        self._prompt = prompt
        self._view = view
        self._request = request
        self._lam = lam
        self._allowance = allowance
        self._on_text = on_text
        self._keep_going = keep_going
        self._num_told = 0
        self._offered: tuple[int, Draft] | None = None
        self._start_s = 0.0
        self._work = Work()
        """What the last stage is known to have done."""
        self._cost = 0.0
        self._saved = 0.0
        """The expected loss that abandoning the last draft saved."""
        self.as_recorded = isinstance(prompt, str) and request.as_recorded
        """Whether all drafts held are as when the fit's prompts were recorded."""
        self._degraded_by: list[str] = []
        self.was_cut = False
        """Whether a cap ended a draft: that says something of the prompt that no estimate knows."""
        self.is_fragment = False
        """Whether all there is to return is the beginning of a draft."""
        self.last = -1
        """The last stage that ran."""
        self.drafts: dict[int, Draft] = {}
        """Those that could be returned."""
        self.steps: list[Step] = []

    @property
    def degraded_by(self) -> str | None:
        """What caps and failures changed, in words; None: nothing."""
        return "; ".join(dict.fromkeys(self._degraded_by)) or None

    def decide(self, evidence: Evidence) -> Choice:
        return self._judge.decide(self._allowance.limit(evidence), self._lam)

    def why(self, choice: Choice) -> Why:
        """What the choice rests on; notes where the allowance changed it."""
        if choice.denied is not None and self._allowance.is_short:
            self._degraded_by.append(f"too little was left for {self._names[choice.denied]}")
        return self._allowance.why(choice, self._names)

    def skip(self, choice: Choice) -> None:
        """The stages before the one chosen; failed ones have been told."""
        why = self.why(choice)
        for index in sorted({*range(self.last + 1, choice.stage)} - self._allowance.failed):
            told = (Action.SKIP, None, Decision.ESCALATE, why.reason)
            self.steps.append(Step(self._names[index], *told, alternatives=why.alternatives))

    def draft(self, index: int, evidence: Evidence) -> Draft:
        """Run one stage; the last draft so far, abandoned or not, is offered for verification.

        The draft is held unless it is abandoned, or cut while another one is held.
        """
        self.last, self._start_s = index, self._allowance.elapsed_s
        draft = self._run_stage(index, evidence)
        self._offered = index, draft
        self._cost = self._judge.cost(index, draft)
        self._allowance.pay(self._cost)
        if draft.has_ended:
            self._allowance.cut = ""
            self.drafts[index] = draft
        elif self._allowance.cut:
            self.was_cut = True
            self._degraded_by.append(f"{self._names[index]} was {self._allowance.cut}")
        elif self._saved <= 0:
            raise CancelledError("the answer was cancelled before it was whole.")
        return draft

    def fragment(self, draft: Draft) -> Choice | None:
        """To return the draft that was just cut, where it is all there is.

        It is judged as what a limit of tokens ended, and on its own: no policy knows such drafts.
        Where it must not be bad it is not given, since nothing tells how bad a beginning is.
        """
        if not self._allowance.cut or self.drafts:
            return None
        ended = replace(draft, finish_reason="length")
        judged = self._judge.judge(self._view, self.last, ended)
        self.drafts[self.last] = draft
        self.as_recorded, self.is_fragment = False, True
        return self._only(judged.told if judged.answer else 0.0)

    def spare(self, held: Sequence[HeldDraft]) -> Choice | None:
        """To return the draft of a stage that ran since those that the policy knows have failed."""
        return None if self._allowance.knows(self.last) else self._only(held[-1].told)

    def _only(self, quality: float) -> Choice:
        stopping = Prospect.of(None, quality, 0.0, self._lam)
        return Choice(Decision.STOP, self.last, (quality,), (stopping,), "nothing else is held")

    def _run_stage(self, index: int, evidence: Evidence) -> Draft:
        stage, (drafted, offered) = self._stages[index], self._offered or (-1, None)
        try:
            return stage.run(
                self._prompt,
                self._request.sampling(stage, index, self._prompt, self._view.form),
                form=self._view.form,
                draft=None if offered is None else offered.offer,
                acceptance=None
                if offered is None
                else self._judge.acceptance(drafted, index, self._view),
                observer=self._observer(index, evidence),
            )
        except CancelledError:
            if not self._allowance.cut:
                raise
            # cut before its turn came
            return Draft("", (), (), (), (), "cancelled", 0, 0.0, 0.0)

    def _observer(self, index: int, evidence: Evidence) -> Observer:
        judge, allowance, keep_going = self._judge, self._allowance, self._keep_going
        # Only this draft can be the answer then; with one held, that may yet be returned.
        later = set(range(index + 1, len(self._stages))) - allowance.failed
        is_only = not later and not self.drafts
        is_certain = is_only and self._request.abstain_below is None
        self._saved, self._work, allowance.cut = 0.0, Work(), ""

        def observe(progress: Progress) -> bool:
            self._work = progress.work
            if is_certain:
                self._tell(progress.new_text)
            if not allowance.allows(index, progress.work):
                return False
            if progress.num_tokens in CHECKPOINTS and not is_only:
                self._saved = judge.saved(evidence, index, progress, self._lam)
                if self._saved > 0 and not allowance.fits_all_after(index, evidence):
                    self._saved = 0.0
                    if allowance.is_short:
                        told = f"too little was left to abandon the draft of {self._names[index]}"
                        self._degraded_by.append(told)
            return self._saved <= 0 and (keep_going is None or keep_going())

        return observe

    def note(self, draft: Draft, choice: Choice) -> None:
        """The step of the last stage."""
        why, cut = self.why(choice), self._allowance.cut
        reason = "; ".join(filter(None, (cut, draft.remark, why.reason)))
        action = Action.VERIFY if draft.verified.num_drafted else Action.DRAFT
        if not draft.has_ended and not cut:
            action = Action.ABANDON
            reason = f"going on would lose {self._saved:.3g} more than abandoning it; {reason}"
        self.steps.append(
            Step(
                stage=self._names[self.last],
                action=action,
                quality=choice.qualities[-1] if self.last in self.drafts else None,
                decision=choice.decision,
                reason=reason,
                tokens_in=draft.tokens_in,
                tokens_out=sum(made.tokens_out for made in draft.made),
                num_drafted=draft.verified.num_drafted,
                num_accepted=draft.verified.num_accepted,
                num_spans=draft.verified.num_spans,
                latency_s=draft.latency_s,
                cost=self._cost,
                alternatives=why.alternatives,
            )
        )

    def without(self, error: EndpointError, evidence: Evidence) -> Choice:
        """How to go on now that the last stage has failed, whose step this notes.

        Raises `error` where nothing else can answer, or part of the answer has been shown. What
        came of the draft is paid; a failed stage that is larger than the one returned degrades.
        """
        allowance = self._allowance
        allowance.failed.add(self.last)
        if self._num_told or len(allowance.failed) == len(self._stages):
            raise error
        cost = self._judge.cost(self.last, self._work)
        allowance.pay(cost)
        choice = self.decide(evidence)
        why = self.why(choice)
        self.steps.append(
            Step(
                stage=self._names[self.last],
                action=Action.SKIP,
                decision=choice.decision,
                reason=f"failed: {error}; {why.reason}",
                latency_s=allowance.elapsed_s - self._start_s,
                cost=cost,
                alternatives=why.alternatives,
            )
        )
        return choice

    def quality_of(self, choice: Choice) -> float:
        """Of the draft that stopping returns."""
        return choice.qualities[list(self.drafts).index(choice.stage)]

    def end(self, choice: Choice) -> bool:
        """Give the text of the stage chosen, or abstain: True."""
        failed = sorted(stage for stage in self._allowance.failed if stage > choice.stage)
        self._degraded_by += [f"{self._names[stage]} failed" for stage in failed]
        quality, least = self.quality_of(choice), self._request.abstain_below
        if abstains := least is not None and (quality < least or self.is_fragment):
            reason = f"quality {quality:.2f} of the best draft is below {least:g}"
            if self.is_fragment:
                reason = "no draft came to its end"
            self._add_last(Action.ABSTAIN, choice, quality, f"{reason}; {self.why(choice).reason}")
        elif choice.stage != self.last:
            reason = f"of the drafts held, the one of most quality: {quality:.2f}"
            self._add_last(Action.RECALL, choice, quality, reason)
        if not abstains:
            self._tell(self.drafts[choice.stage].text[self._num_told :])
        return abstains

    def _add_last(self, action: Action, choice: Choice, quality: float, reason: str) -> None:
        alternatives = self.why(choice).alternatives
        step = Step(self._names[choice.stage], action, quality, None, reason)
        self.steps.append(replace(step, alternatives=alternatives))

    def _tell(self, text: str) -> None:
        if self._on_text is not None and text:
            self._on_text(text)
            self._num_told += len(text)
