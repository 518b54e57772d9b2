"""Runs two stages on the same prompts, in every way in which a cascade of them could."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from adaptive_sd.data.grading import grade
from adaptive_sd.data.tasks import Task
from adaptive_sd.engines.base import EngineInfo
from adaptive_sd.errors import DataError, EngineError
from adaptive_sd.forms import detect_form
from adaptive_sd.judge import cost_of
from adaptive_sd.stage import Stage
from adaptive_sd.types import Acceptance, Draft, Offer, Rates, Sampling

_WARM_UP = "What is 1 + 1?"
OnProgress = Callable[[str, int, int], None]


class Attempt(NamedTuple):
    """One stage's graded answer; `cost_s` is token counts times the stage's rates."""

    draft: Draft
    quality: float
    cost_s: float


class Sample(NamedTuple):
    """A prompt, answered by both models alone and by model 2 when it verifies model 1's draft."""

    task: Task
    model1: Attempt
    model2: Attempt
    verified: Attempt


class LeftOut(NamedTuple):
    """A prompt that one of the runs could not answer or grade."""

    prompt_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class MeasuredModel:
    """What ran, so that results can be traced back."""

    name: str
    info: EngineInfo
    styles: dict[str, str]
    rates: Rates


@dataclass(frozen=True, slots=True)
class Measured:
    """All samples of a run, of two models."""

    models: tuple[MeasuredModel, MeasuredModel]
    samples: tuple[Sample, ...]
    left_out: tuple[LeftOut, ...]


def measure(
    stages: Sequence[Stage], tasks: Sequence[Task], *, seed: int, on_progress: OnProgress
) -> Measured:
    """Run model 1, model 2, and model 2 verifying, each on all prompts before the next.

    Every phase begins with a newly loaded, warmed-up model, so that none finds more of the prompts
    in the KV cache than another. `on_progress` gets (phase, prompts done, prompts wanted).
    Raises DataError when no prompt can be used.
    """
    run = _Run(seed, on_progress)
    first, second = stages
    model1, models1 = run.phase(f"{first.name}", first, tasks, {})
    model2, models2 = run.phase(f"{second.name}", second, tasks, {})
    offers = {prompt_id: attempt.draft.offer for prompt_id, attempt in model1.items()}
    verified, _ = run.phase(f"{second.name} verifying", second, tasks, offers)
    samples = tuple(
        Sample(t, model1[t.id], model2[t.id], verified[t.id])
        for t in tasks
        if t.id not in run.left_out
    )
    if not samples:
        reason = next(iter(run.left_out.values()), "there are none")
        raise DataError(f"no prompt could be answered and graded: {reason}")
    return Measured((models1, models2), samples, tuple(map(LeftOut._make, run.left_out.items())))


class _Run:
    """Phases, and the prompts that one of them had to leave out."""

    def __init__(self, seed: int, on_progress: OnProgress) -> None:
        self._seed = seed
        self._on_progress = on_progress
        self.left_out: dict[str, str] = {}

    def phase(
        self, label: str, stage: Stage, tasks: Sequence[Task], drafts: dict[str, Offer]
    ) -> tuple[dict[str, Attempt], MeasuredModel]:
        attempts = {}
        try:
            rates = stage.rates or stage.engine.measure_rates()
            self._warm_up(stage, tasks)
            for count, task in enumerate(tasks):
                self._on_progress(label, count, len(tasks))
                attempt = None
                if task.id not in self.left_out:
                    attempt = self._attempt(stage, task, drafts.get(task.id), rates)
                if attempt is not None:
                    attempts[task.id] = attempt
            self._on_progress(label, len(tasks), len(tasks))
            model = MeasuredModel(stage.name, stage.engine.info, stage.style_names(), rates)
            return attempts, model
        finally:
            stage.close()

    def _warm_up(self, stage: Stage, tasks: Sequence[Task]) -> None:
        """One token in each form that comes: first passes are slow and read worked examples."""
        for form in dict.fromkeys(detect_form(task.prompt) for task in tasks):
            stage.run(_WARM_UP, Sampling(max_tokens=1), form=form)

    def _attempt(
        self, stage: Stage, task: Task, earlier: Offer | None, rates: Rates
    ) -> Attempt | None:
        form = detect_form(task.prompt)  # as live: no label helps
        sampling = Sampling(max_tokens=stage.token_limit(task.prompt, form), seed=self._seed)
        try:
            draft = stage.run(
                *(task.prompt, sampling),
                form=form,
                draft=earlier,
                acceptance=None if earlier is None else Acceptance(),
            )
        except EngineError as error:
            self.left_out[task.id] = str(error)
            return None
        graded = grade(task, draft.text)
        if graded.quality is None:
            self.left_out[task.id] = f"not graded: {graded.reason}"
            return None
        return Attempt(draft, graded.quality, cost_of(draft, rates))
