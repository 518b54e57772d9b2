"""The one loop: skip, draft or abandon, judge, stop or escalate, recall; live and in replay."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from adaptive_sd.closing import Closing
from adaptive_sd.decision.failures import Failures
from adaptive_sd.decision.features import PromptView
from adaptive_sd.decision.partial import CHECKPOINTS
from adaptive_sd.decision.policies import Choice, Evidence, reason_of
from adaptive_sd.engines.sampling import check_sampling
from adaptive_sd.errors import CancelledError, ConfigError, EndpointError
from adaptive_sd.forms import Form, detect_form
from adaptive_sd.ladder import Judge, LadderStage
from adaptive_sd.prompt import Prompt, prompt_text
from adaptive_sd.streaming import AnswerStream, run_async
from adaptive_sd.trace import Answer, Step
from adaptive_sd.types import Action, Decision, Draft, Observer, OnFailure, Progress, Sampling


@dataclass(frozen=True, slots=True)
class Request:
    """What a caller may say besides the prompt; None leaves the ladder's own choice."""

    lam: float | None = None
    max_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    lenience: float = 0.0

    def sampling(self, stage: LadderStage, index: int, prompt: Prompt, form: Form) -> Sampling:
        """How `stage`, the ladder's `index`-th, chooses tokens; by its own limit if none is given.

        Where tokens are drawn each stage has draws of its own: were they shared, a draft that makes
        the judge escalate would choose among the next stage's answers. Raises ConfigError.
        """
        limit = stage.token_limit(prompt, form) if self.max_tokens is None else self.max_tokens
        asked = Sampling(limit, self.temperature, self.top_p, self.seed, self.stop, self.lenience)
        check_sampling(asked)
        return replace(asked, seed=_seed_of(index, self.seed)) if self.temperature else asked


def _seed_of(stage: int, seed: int) -> int:
    (drawn,) = np.random.SeedSequence([seed, stage]).generate_state(1, np.uint64)
    return int(drawn) >> 1


class Cascade(Closing):
    """A ladder of stages, cheapest first, and the judge that stops on it."""

    def __init__(
        self,
        stages: Sequence[LadderStage],
        judge: Judge,
        *,
        lam: float | None = None,
        on_failure: OnFailure = "degrade",
    ) -> None:
        """`lam` is the weight of quality unless a request says otherwise; None: the judge's.

        Where a stage's server fails the ladder goes on without that stage, or not (`on_failure`).
        """
        if not stages:
            raise ConfigError("a ladder needs at least one stage.")
        self.stages = tuple(stages)
        self.judge = judge
        self._lam = lam
        self._on_failure = on_failure

    @property
    def lam(self) -> float:
        return self.judge.recommended_lam if self._lam is None else self._lam

    def lam_origin(self, lam: float) -> str:
        """Where the lambda of an answer comes from, in words."""
        recommended = self.judge.recommended_lam
        if lam == recommended:
            return f"recommended: {self.judge.lam_origin}"
        known = self.judge.certificates
        origin = "given" if known is None else known.promised(lam)
        return f"{origin}; recommended is {recommended:.3g}: {self.judge.lam_origin}"

    def answer(
        self,
        prompt: Prompt,
        request: Request | None = None,
        *,
        on_text: Callable[[str], None] | None = None,
        keep_going: Callable[[], bool] | None = None,
    ) -> Answer:
        """Answer with the cheapest stage that is good enough.

        `on_text` gets the answer's text as soon as it is certain to be returned: the largest
        stage's while it grows, where no other draft is held. The work ends with CancelledError when
        `keep_going` says False. Raises ConfigError for a bad request, ContextOverflowError when
        the prompt does not fit a stage, and EndpointError when no stage could answer or part of
        the answer had been shown already.
        """
        request = request or Request()
        start_s = time.perf_counter()
        lam = self.lam if request.lam is None else request.lam
        text = prompt_text(prompt)
        view = PromptView.of(text, detect_form(text))
        run = _Run(self, prompt, view, request, lam, on_text, keep_going)
        failures = Failures(partial(self.judge.decide, lam=lam), len(self.stages))
        evidence = self.judge.begin(view)
        choice = failures.decide(evidence)
        while choice.decision is Decision.ESCALATE:
            run.skip(range(run.last + 1, choice.stage), choice)
            try:
                draft = run.draft(choice.stage, evidence, may_abandon=not failures.is_spare)
            except EndpointError as error:
                going_on = failures.without(run.last, evidence)
                if self._on_failure == "error" or run.released or going_on is None:
                    raise
                choice = going_on
                run.note_failure(error, choice)
                continue
            if draft.has_ended:
                held = self.judge.judge(view, run.last, draft)
                evidence = replace(evidence, held=(*evidence.held, held))
            else:
                evidence = replace(evidence, abandoned=run.last)
            choice = failures.decide(evidence)
            run.note(draft, choice)
        answer = self._finish(run, evidence, choice, start_s)
        return replace(answer, degraded=failures.is_degraded(choice.stage))

    def _finish(self, run: _Run, evidence: Evidence, choice: Choice, start_s: float) -> Answer:
        index = choice.stage
        stages = [held.stage for held in evidence.held]
        quality = choice.qualities[stages.index(index)]
        if index != run.last:
            reason = f"of the drafts held, the likeliest to be right: {quality:.2f}"
            recalled = Step(self.stages[index].name, Action.RECALL, quality, reason=reason)
            run.steps.append(recalled)
        run.release(run.drafts[index].text)
        return Answer(
            trace_id=uuid.uuid4().hex,
            text=run.drafts[index].text,
            stage=self.stages[index].name,
            stage_index=index,
            quality=quality,
            cost=sum(step.cost for step in run.steps),
            cost_unit=self.judge.cost_unit,
            latency_s=time.perf_counter() - start_s,
            lam=run.lam,
            abstained=False,
            degraded=False,
            calibrated=evidence.covered and run.as_recorded,
            trace=tuple(run.steps),
        )

    def stream(self, prompt: Prompt, request: Request | None = None) -> AnswerStream:
        """As `answer`, iterating over the text; `.answer` is there after the last piece."""
        return AnswerStream(partial(self.answer, prompt, request))

    async def aanswer(self, prompt: Prompt, request: Request | None = None) -> Answer:
        """As `answer`, awaited; cancelling the task ends the work."""
        return await run_async(partial(self.answer, prompt, request))

    def close(self) -> None:
        """Free all models; a later call loads them again."""
        for stage in self.stages:
            stage.close()


class _Run:
    """The drafts and steps of one prompt while the loop goes on."""

    def __init__(
        self,
        cascade: Cascade,
        prompt: Prompt,
        view: PromptView,
        request: Request,
        lam: float,
        on_text: Callable[[str], None] | None,
        keep_going: Callable[[], bool] | None,
    ) -> None:
        self._cascade = cascade
        self._names = [stage.name for stage in cascade.stages]
        self._prompt = prompt
        self._view = view
        self._request = request
        self._on_text = on_text
        self._keep_going = keep_going
        self._streamed = False
        self._offered: tuple[int, Draft] | None = None
        self._start_s = 0.0
        self._saved = 0.0
        """The expected loss that abandoning the last draft saved."""
        self.lam = lam
        self.as_recorded = isinstance(prompt, str) and request == Request(lam=request.lam)
        """Whether the stages are asked as they were when the fit's prompts were recorded."""
        self.last = -1
        """The last stage that ran."""
        self.released = False
        """Whether any text has been shown."""
        self.drafts: dict[int, Draft] = {}
        """Those that are held: they came to their end."""
        self.steps: list[Step] = []

    def skip(self, stages: Sequence[int], choice: Choice) -> None:
        reason = reason_of(choice, self._names)
        for index in stages:
            self.steps.append(
                Step(self._names[index], Action.SKIP, decision=Decision.ESCALATE, reason=reason)
            )

    def draft(self, index: int, evidence: Evidence, *, may_abandon: bool = True) -> Draft:
        """Run one stage; the last draft so far, abandoned or not, is offered for verification.

        The draft is held unless it is abandoned.
        """
        stage, request = self._cascade.stages[index], self._request
        drafted, offered = self._offered or (-1, None)
        self.last, self._start_s = index, time.perf_counter()
        draft = stage.run(
            self._prompt,
            request.sampling(stage, index, self._prompt, self._view.form),
            form=self._view.form,
            draft=None if offered is None else offered.offer,
            acceptance=None
            if offered is None
            else self._cascade.judge.acceptance(drafted, index, self._view),
            observer=self._observer(index, evidence, may_abandon),
        )
        if draft.has_ended:
            self.drafts[index] = draft
        elif self._saved <= 0:
            raise CancelledError("the answer was cancelled before it was whole.")
        self._offered = index, draft
        return draft

    def _observer(self, index: int, evidence: Evidence, may_abandon: bool) -> Observer:
        on_text, keep_going, judge = self._on_text, self._keep_going, self._cascade.judge
        # Only this draft can be the answer then; with one held, that may yet be returned.
        is_certain = index == len(self._cascade.stages) - 1 and not self.drafts
        self._streamed = on_text is not None and is_certain
        self._saved = 0.0

        def observe(progress: Progress) -> bool:
            if self._streamed and on_text is not None and progress.new_text:
                on_text(progress.new_text)
                self.released = True
            if progress.num_tokens in CHECKPOINTS and may_abandon and not is_certain:
                self._saved = judge.saved(evidence, index, progress, self.lam)
            return self._saved <= 0 and (keep_going is None or keep_going())

        return observe

    def note(self, draft: Draft, choice: Choice) -> None:
        """The step of the last stage."""
        reason = reason_of(choice, self._names)
        action = Action.VERIFY if draft.verified.num_drafted else Action.DRAFT
        if not draft.has_ended:
            action = Action.ABANDON
            reason = f"going on would lose {self._saved:.3g} more than abandoning it; {reason}"
        if draft.remark:
            reason = f"{reason}; {draft.remark}"
        self.steps.append(
            Step(
                stage=self._names[self.last],
                action=action,
                quality=choice.qualities[-1] if draft.has_ended else None,
                decision=choice.decision,
                reason=reason,
                tokens_in=draft.tokens_in,
                tokens_out=sum(made.tokens_out for made in draft.made),
                num_drafted=draft.verified.num_drafted,
                num_accepted=draft.verified.num_accepted,
                num_spans=draft.verified.num_spans,
                latency_s=draft.latency_s,
                cost=self._cascade.judge.cost(self.last, draft),
            )
        )

    def note_failure(self, error: EndpointError, choice: Choice) -> None:
        """The step of a stage whose server failed; what it had done by then is not known."""
        name, decision = self._names[self.last], choice.decision
        reason = f"failed: {error}; {reason_of(choice, self._names)}"
        spent_s = time.perf_counter() - self._start_s
        self.steps.append(Step(name, Action.SKIP, None, decision, reason, latency_s=spent_s))

    def release(self, text: str) -> None:
        if self._on_text is not None and not self._streamed:
            self._on_text(text)
