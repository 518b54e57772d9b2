"""The one loop: skip or draft, judge, stop or escalate, recall; live and in replay."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Protocol, Self

from adaptive_sd.decision.policies import Choice, Evidence, HeldDraft
from adaptive_sd.errors import CancelledError, ConfigError
from adaptive_sd.forms import Form, detect_form
from adaptive_sd.prompt import Prompt, prompt_text
from adaptive_sd.streaming import AnswerStream, run_async
from adaptive_sd.trace import Answer, CostUnit, Step
from adaptive_sd.types import Acceptance, Action, Decision, Draft, Observer, Progress, Sampling


class LadderStage(Protocol):
    """What the loop needs of a stage."""

    name: str

    def run(
        self,
        prompt: Prompt,
        sampling: Sampling,
        *,
        form: Form | None = None,
        draft: str | None = None,
        acceptance: Acceptance | None = None,
        observer: Observer | None = None,
    ) -> Draft: ...

    def token_limit(self, prompt: Prompt, form: Form) -> int: ...

    def close(self) -> None: ...


class Judge(Protocol):
    """Estimates quality from evidence and decides; fitted, immutable."""

    calibrated: bool
    recommended_lam: float
    cost_unit: CostUnit

    def prompt_evidence(self, prompt: str, form: Form) -> Evidence: ...

    def judge(self, form: Form, stage: int, draft: Draft) -> HeldDraft: ...

    def decide(self, evidence: Evidence, lam: float) -> Choice: ...

    def acceptance(self, drafted: int, target: int, form: Form) -> Acceptance: ...

    def cost(self, stage: int, draft: Draft) -> float: ...

    def lam_origin(self, lam: float) -> str: ...

    @property
    def how_to_calibrate(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Request:
    """What a caller may say besides the prompt; None leaves the ladder's own choice."""

    lam: float | None = None
    max_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()


class Cascade:
    """A ladder of stages, cheapest first, and the judge that stops on it."""

    def __init__(self, stages: Sequence[LadderStage], judge: Judge) -> None:
        if not stages:
            raise ConfigError("a ladder needs at least one stage.")
        self.stages = tuple(stages)
        self.judge = judge

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
        stage's while it grows, which then is not given up for an earlier draft. The work ends
        with CancelledError when `keep_going` says False. Raises ConfigError for a bad request and
        ContextOverflowError when the prompt does not fit a stage.
        """
        request = request or Request()
        start_s = time.perf_counter()
        lam = self.judge.recommended_lam if request.lam is None else request.lam
        text = prompt_text(prompt)
        form = detect_form(text)
        run = _Run(self, prompt, form, request, on_text, keep_going)
        evidence = self.judge.prompt_evidence(text, form)
        choice = self.judge.decide(evidence, lam)
        last = -1
        while choice.decision is Decision.ESCALATE:
            run.skip(range(last + 1, choice.stage), choice)
            last = choice.stage
            draft = run.draft(last)
            held = self.judge.judge(form, last, draft)
            evidence = replace(evidence, held=(*evidence.held, held))
            choice = run.after(held, draft, self.judge.decide(evidence, lam))
        return self._finish(run, evidence, choice, lam, start_s)

    def _finish(
        self, run: _Run, evidence: Evidence, choice: Choice, lam: float, start_s: float
    ) -> Answer:
        index = choice.stage
        if index != evidence.held[-1].stage:
            run.steps.append(Step(self.stages[index].name, Action.RECALL, reason=choice.reason))
        quality = next(h.quality for h in evidence.held if h.stage == index)
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
            lam=lam,
            abstained=False,
            degraded=False,
            calibrated=self.judge.calibrated,
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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _Run:
    """The drafts and steps of one prompt while the loop goes on."""

    def __init__(
        self,
        cascade: Cascade,
        prompt: Prompt,
        form: Form,
        request: Request,
        on_text: Callable[[str], None] | None,
        keep_going: Callable[[], bool] | None,
    ) -> None:
        self._cascade = cascade
        self._prompt = prompt
        self._form = form
        self._request = request
        self._on_text = on_text
        self._keep_going = keep_going
        self._streamed = False
        self.drafts: dict[int, Draft] = {}
        self.steps: list[Step] = []

    def skip(self, stages: Sequence[int], choice: Choice) -> None:
        for index in stages:
            name = self._cascade.stages[index].name
            self.steps.append(
                Step(name, Action.SKIP, decision=Decision.ESCALATE, reason=choice.reason)
            )

    def draft(self, index: int) -> Draft:
        """Run one stage; the last draft so far is offered for verification."""
        stage, request = self._cascade.stages[index], self._request
        drafted = max(self.drafts, default=None)
        limit = request.max_tokens or stage.token_limit(self._prompt, self._form)
        draft = stage.run(
            self._prompt,
            Sampling(limit, request.temperature, request.top_p, request.seed, request.stop),
            form=self._form,
            draft=None if drafted is None else self.drafts[drafted].text,
            acceptance=None
            if drafted is None
            else self._cascade.judge.acceptance(drafted, index, self._form),
            observer=self._observer(index),
        )
        if draft.finish_reason == "cancelled":
            raise CancelledError("the answer was cancelled before it was whole.")
        self.drafts[index] = draft
        return draft

    def _observer(self, index: int) -> Observer:
        on_text, keep_going = self._on_text, self._keep_going
        self._streamed = on_text is not None and index == len(self._cascade.stages) - 1

        def observe(progress: Progress) -> bool:
            if self._streamed and on_text is not None and progress.new_text:
                on_text(progress.new_text)
            return keep_going is None or keep_going()

        return observe

    def after(self, held: HeldDraft, draft: Draft, choice: Choice) -> Choice:
        """Note the step; text that was passed on while it grew cannot be taken back."""
        if self._streamed:
            choice = choice._replace(decision=Decision.STOP, stage=held.stage)
        verified = len(self.drafts) > 1
        self.steps.append(
            Step(
                stage=self._cascade.stages[held.stage].name,
                action=Action.VERIFY if verified else Action.DRAFT,
                quality=held.quality,
                decision=choice.decision,
                reason=choice.reason,
                tokens_in=draft.tokens_in,
                tokens_out=draft.tokens_out,
                num_drafted=draft.num_drafted,
                num_accepted=draft.num_accepted,
                num_spans=draft.num_spans,
                latency_s=draft.latency_s,
                cost=self._cascade.judge.cost(held.stage, draft),
            )
        )
        return choice

    def release(self, text: str) -> None:
        if self._on_text is not None and not self._streamed:
            self._on_text(text)
