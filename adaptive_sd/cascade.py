"""The one loop: skip or draft, judge, stop or escalate, recall; live and in replay."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np

from adaptive_sd.closing import Closing
from adaptive_sd.decision.certificates import Certificates
from adaptive_sd.decision.features import PromptView
from adaptive_sd.decision.policies import Choice, Evidence, HeldDraft, reason_of
from adaptive_sd.engines.sampling import check_sampling
from adaptive_sd.errors import CancelledError, ConfigError
from adaptive_sd.forms import Form, detect_form
from adaptive_sd.prompt import Prompt, prompt_text
from adaptive_sd.streaming import AnswerStream, run_async
from adaptive_sd.trace import Answer, CostUnit, Step
from adaptive_sd.types import (
    Acceptance,
    Action,
    Decision,
    Draft,
    Observer,
    Offer,
    Progress,
    Sampling,
)


class LadderStage(Protocol):
    """What the loop needs of a stage."""

    name: str

    def run(
        self,
        prompt: Prompt,
        sampling: Sampling,
        *,
        form: Form | None = None,
        draft: Offer | None = None,
        acceptance: Acceptance | None = None,
        observer: Observer | None = None,
    ) -> Draft: ...

    def token_limit(self, prompt: Prompt, form: Form) -> int: ...

    def warm_up(self) -> None: ...

    def close(self) -> None: ...


class Judge(Protocol):
    """Estimates quality from evidence and decides; fitted, immutable."""

    @property
    def how_to_calibrate(self) -> str: ...

    @property
    def recommended_lam(self) -> float: ...

    @property
    def lam_origin(self) -> str: ...

    @property
    def cost_unit(self) -> CostUnit: ...

    @property
    def certificates(self) -> Certificates | None: ...

    def begin(self, prompt: PromptView) -> Evidence: ...

    def judge(self, prompt: PromptView, stage: int, draft: Draft) -> HeldDraft: ...

    def decide(self, evidence: Evidence, lam: float) -> Choice: ...

    def acceptance(self, drafted: int, target: int, prompt: PromptView) -> Acceptance: ...

    def cost(self, stage: int, draft: Draft) -> float: ...


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
        self, stages: Sequence[LadderStage], judge: Judge, *, lam: float | None = None
    ) -> None:
        """`lam` is the weight of quality unless a request says otherwise; None: the judge's."""
        if not stages:
            raise ConfigError("a ladder needs at least one stage.")
        self.stages = tuple(stages)
        self.judge = judge
        self._lam = lam

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
        `keep_going` says False. Raises ConfigError for a bad request and ContextOverflowError when
        the prompt does not fit a stage.
        """
        request = request or Request()
        start_s = time.perf_counter()
        lam = self.lam if request.lam is None else request.lam
        text = prompt_text(prompt)
        view = PromptView.of(text, detect_form(text))
        run = _Run(self, prompt, view, request, on_text, keep_going)
        evidence = self.judge.begin(view)
        choice = self.judge.decide(evidence, lam)
        last = -1
        while choice.decision is Decision.ESCALATE:
            run.skip(range(last + 1, choice.stage), choice)
            last = choice.stage
            held = self.judge.judge(view, last, run.draft(last))
            evidence = replace(evidence, held=(*evidence.held, held))
            choice = run.after(last, self.judge.decide(evidence, lam))
        return self._finish(run, evidence, choice, lam, start_s)

    def _finish(
        self, run: _Run, evidence: Evidence, choice: Choice, lam: float, start_s: float
    ) -> Answer:
        index = choice.stage
        stages = [held.stage for held in evidence.held]
        quality = choice.qualities[stages.index(index)]
        if index != stages[-1]:
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
            lam=lam,
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
        self.as_recorded = isinstance(prompt, str) and request == Request(lam=request.lam)
        """Whether the stages are asked as they were when the fit's prompts were recorded."""
        self.drafts: dict[int, Draft] = {}
        self.steps: list[Step] = []

    def skip(self, stages: Sequence[int], choice: Choice) -> None:
        reason = reason_of(choice, self._names)
        for index in stages:
            self.steps.append(
                Step(self._names[index], Action.SKIP, decision=Decision.ESCALATE, reason=reason)
            )

    def draft(self, index: int) -> Draft:
        """Run one stage; the last draft so far is offered for verification."""
        stage, request = self._cascade.stages[index], self._request
        drafted = max(self.drafts, default=None)
        draft = stage.run(
            self._prompt,
            request.sampling(stage, index, self._prompt, self._view.form),
            form=self._view.form,
            draft=None if drafted is None else self.drafts[drafted].offer,
            acceptance=None
            if drafted is None
            else self._cascade.judge.acceptance(drafted, index, self._view),
            observer=self._observer(index),
        )
        if draft.finish_reason == "cancelled":
            raise CancelledError("the answer was cancelled before it was whole.")
        self.drafts[index] = draft
        return draft

    def _observer(self, index: int) -> Observer:
        on_text, keep_going = self._on_text, self._keep_going
        # With a draft held, it may yet be the one returned: nothing is certain until the end.
        last = index == len(self._cascade.stages) - 1
        self._streamed = on_text is not None and last and not self.drafts

        def observe(progress: Progress) -> bool:
            if self._streamed and on_text is not None and progress.new_text:
                on_text(progress.new_text)
            return keep_going is None or keep_going()

        return observe

    def after(self, index: int, choice: Choice) -> Choice:
        """Note the step."""
        draft = self.drafts[index]
        self.steps.append(
            Step(
                stage=self._names[index],
                action=Action.VERIFY if draft.verified.num_drafted else Action.DRAFT,
                quality=choice.qualities[-1],
                decision=choice.decision,
                reason=reason_of(choice, self._names),
                tokens_in=draft.tokens_in,
                tokens_out=sum(made.tokens_out for made in draft.made),
                num_drafted=draft.verified.num_drafted,
                num_accepted=draft.verified.num_accepted,
                num_spans=draft.verified.num_spans,
                latency_s=draft.latency_s,
                cost=self._cascade.judge.cost(index, draft),
            )
        )
        return choice

    def release(self, text: str) -> None:
        if self._on_text is not None and not self._streamed:
            self._on_text(text)
