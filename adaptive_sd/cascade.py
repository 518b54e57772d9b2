"""The one loop: skip, draft or abandon, judge, stop or escalate, recall; live and in replay."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from adaptive_sd.allowance import Allowance
from adaptive_sd.closing import Closing
from adaptive_sd.decision.features import PromptView
from adaptive_sd.errors import ConfigError, EndpointError
from adaptive_sd.forms import detect_form
from adaptive_sd.ladder import Judge, LadderStage
from adaptive_sd.online import Online
from adaptive_sd.prompt import Prompt, prompt_text
from adaptive_sd.request import Request as Request
from adaptive_sd.run import Run
from adaptive_sd.streaming import AnswerStream, run_async
from adaptive_sd.trace import Answer
from adaptive_sd.types import Decision, OnFailure


class Cascade(Closing):
    """A ladder of stages, cheapest first, and the judge that stops on it."""

    def __init__(
        self,
        stages: Sequence[LadderStage],
        judge: Judge,
        *,
        lam: float | None = None,
        on_failure: OnFailure = "degrade",
        online: Online | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`lam` is the weight of quality unless a request says otherwise; None: the judge's.

        Where a stage's server fails the ladder goes on without that stage, or not (`on_failure`).
        With `online`, made for this judge, the ladder learns while it runs. `clock` tells seconds.
        """
        if not stages:
            raise ConfigError("a ladder needs at least one stage.")
        self.stages = tuple(stages)
        self.judge = judge
        self._lam = lam
        self._on_failure = on_failure
        self.clock = clock
        self._online = online

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
        stage's while it grows, where no other draft is held and it is given however bad. The work
        ends with CancelledError when `keep_going` says False. Raises ConfigError for a bad request,
        ContextOverflowError when the prompt does not fit a stage, and EndpointError when no stage
        could answer or part of the answer had been shown already.
        """
        request = request or Request()
        lam = self.lam if request.lam is None else request.lam
        text = prompt_text(prompt)
        view = PromptView.of(text, detect_form(text))
        as_fitted = isinstance(prompt, str) and request == Request(lam=request.lam)
        asked = None if self._online is None else self._online.ask(as_fitted=as_fitted)
        judge = asked or self.judge
        caps = (request.max_cost, request.deadline_s)
        allowance = Allowance(judge, len(self.stages), *caps, clock=self.clock)
        run = Run(self.stages, judge, prompt, view, request, lam, allowance, on_text, keep_going)
        evidence = judge.begin(view)
        choice = run.decide(evidence)
        opening = run.why(choice)
        while choice.decision is Decision.ESCALATE:
            run.skip(choice)
            try:
                draft = run.draft(choice.stage, evidence)
            except EndpointError as error:
                if self._on_failure == "error":
                    raise
                choice = run.without(error, evidence)
                continue
            if draft.has_ended:
                held = judge.judge(view, run.last, draft)
                evidence = replace(evidence, held=(*evidence.held, held))
            else:
                evidence = replace(evidence, abandoned=run.last)
            choice = run.fragment(draft) or run.spare(evidence.held) or run.decide(evidence)
            run.note(draft, choice)
        abstained = run.end(choice)
        trace_id, quality = uuid.uuid4().hex, run.quality_of(choice)
        calibrated = evidence.covered and run.as_recorded
        tells = calibrated and not run.was_cut and not allowance.failed
        if self._online is not None and asked is not None and tells:
            stage = None if abstained else choice.stage
            observe = partial(asked.observed, stage, quality, lam, evidence)
            self._online.keep(trace_id, text, observe)
        return Answer(
            trace_id=trace_id,
            text=None if abstained else run.drafts[choice.stage].text,
            stage=self.stages[choice.stage].name,
            stage_index=choice.stage,
            quality=quality,
            cost=sum(step.cost for step in run.steps),
            cost_unit=self.judge.cost_unit,
            latency_s=allowance.elapsed_s,
            lam=lam,
            abstained=abstained,
            degraded=run.degraded_by is not None,
            calibrated=calibrated,
            trace=tuple(run.steps),
            opening=opening,
            agreement_with=self.judge.agreement_with,
            cut=run.is_fragment and not abstained,
            degraded_by=run.degraded_by,
            form=view.form,
        )

    def feedback(self, trace_id: str, good: bool) -> None:
        """Learn what a reader says of an answer; the last word counts.

        Raises ConfigError where the ladder is not online, and DataError for an unknown trace.
        """
        if self._online is None:
            raise ConfigError("this ladder does not learn; write `online = true` in its file.")
        self._online.feedback(trace_id, good=good)

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
