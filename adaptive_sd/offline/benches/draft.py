"""Runs several ways to answer with the target on the same prompts, in a random order each."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from adaptive_sd.cascade import Request
from adaptive_sd.data.grading import grade
from adaptive_sd.data.tasks import Task
from adaptive_sd.decision.features import PromptView
from adaptive_sd.errors import CancelledError, EngineClosedError, EngineError
from adaptive_sd.forms import detect_form
from adaptive_sd.ladder import Judge
from adaptive_sd.offline.benches.methods import Answered, Asked, Clock, Method, plain, reuse
from adaptive_sd.stage import Stage
from adaptive_sd.types import Offer

NUM_AGREEING = 64
"""Tokens of the draft that agrees whole: the target's own."""


class Agreeing(NamedTuple):
    """The target's first 64 tokens, generated and verified."""

    generated: Answered
    verified: Answered


@dataclass(frozen=True, slots=True)
class PromptRun:
    """The answers to one prompt, and their grades (None: not graded), by the method's name.

    `draft_s` made the draft; `prompt_s` is what the target took to read the prompt, which no
    method had to read again. `failures` says why the other methods have no answer.
    """

    task: Task
    draft_s: float
    draft_tokens: int
    prompt_s: float
    answers: Mapping[str, Answered]
    qualities: Mapping[str, float | None]
    agreeing: Agreeing | None
    failures: Mapping[str, str] = field(default_factory=dict)


class Runs(NamedTuple):
    """Prompts that were answered, and by their ids why others were not."""

    answered: list[PromptRun]
    left_out: dict[str, str]


class DraftBench:
    """The drafting stage, the target and the methods side by side."""

    def __init__(
        self,
        stages: Sequence[Stage],
        judge: Judge,
        drafted: int,
        methods: Mapping[str, Method],
        *,
        clock: Clock = time.perf_counter,
    ) -> None:
        """`drafted` is the index of the drafting stage; the last stage is the target."""
        self._stages = stages
        self._judge = judge
        self._drafted = drafted
        self._methods = methods
        self._clock = clock

    def run(
        self,
        tasks: Sequence[Task],
        *,
        rng: np.random.Generator,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Runs:
        """Answer every task with every method.

        A prompt that cannot be drafted or answered plainly is left out. The order of the methods
        is drawn for each prompt: a machine's drift hits all alike.
        """
        runs = Runs([], {})
        for done, task in enumerate(tasks):
            on_progress(done, len(tasks))
            try:
                runs.answered.append(self._run_one(task, rng))
            except (CancelledError, EngineClosedError):
                raise
            except EngineError as error:
                runs.left_out[task.id] = str(error)
        return runs

    def _run_one(self, task: Task, rng: np.random.Generator) -> PromptRun:
        drafting, target = self._stages[self._drafted], self._stages[-1]
        form = detect_form(task.prompt)
        view = PromptView.of(task.prompt, form)
        start_s = self._clock()
        sampling = Request().sampling(drafting, self._drafted, task.prompt, form)
        draft = drafting.run(task.prompt, sampling, form=form)
        draft_s = self._clock() - start_s
        asked = Asked(
            task.prompt,
            form,
            Request().sampling(target, len(self._stages) - 1, task.prompt, form),
            draft.offer,
            self._judge.acceptance(self._drafted, len(self._stages) - 1, view),
        )
        first = target.run(task.prompt, replace(asked.sampling, max_tokens=1), form=form)
        answers, failures = _in_any_order(self._methods, asked, rng)
        if "plain" in failures:
            raise EngineError(failures["plain"])
        return PromptRun(
            task=task,
            draft_s=draft_s,
            draft_tokens=draft.tokens_out,
            prompt_s=first.prefill_s,
            answers=answers,
            qualities={name: grade(task, a.text).quality for name, a in answers.items()},
            agreeing=self._agree(asked, answers["plain"], rng),
            failures=failures,
        )

    def _agree(self, asked: Asked, whole: Answered, rng: np.random.Generator) -> Agreeing | None:
        if whole.offer is None or len(whole.token_ids) < NUM_AGREEING:
            return None
        target = self._stages[-1]
        asked = replace(
            asked,
            sampling=replace(asked.sampling, max_tokens=NUM_AGREEING),
            offer=beginning(whole.offer, NUM_AGREEING),
        )
        methods = {
            "generated": plain(target, self._clock),
            "verified": reuse(target, 0.0, self._clock),
        }
        answers, failures = _in_any_order(methods, asked, rng)
        return None if failures else Agreeing(**answers)


def _in_any_order(
    methods: Mapping[str, Method], asked: Asked, rng: np.random.Generator
) -> tuple[dict[str, Answered], dict[str, str]]:
    """The answers, in the methods' own order again, and why others have none."""
    names = list(methods)
    answers: dict[str, Answered] = {}
    failures: dict[str, str] = {}
    for i in rng.permutation(len(names)):
        try:
            answers[names[i]] = methods[names[i]](asked)
        except (CancelledError, EngineClosedError):
            raise
        except EngineError as error:
            failures[names[i]] = str(error)
    return {name: answers[name] for name in names if name in answers}, failures


def beginning(offer: Offer, num_tokens: int) -> Offer:
    """The first tokens of a draft that has at least so many; it does not end there."""
    ends = offer.token_ends[:num_tokens]
    text = offer.text.encode()[: ends[-1]].decode(errors="ignore")  # a token may cut a character
    return Offer(text, ends, offer.token_logprobs[:num_tokens], ended=False)
