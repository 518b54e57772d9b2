"""Sampled step-by-step answers of one stage, recorded so that any vote of them can be replayed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from adaptive_sd.data.graders import Graders
from adaptive_sd.data.tasks import Task
from adaptive_sd.election import TEMPERATURE
from adaptive_sd.errors import DataError
from adaptive_sd.forms import detect_form
from adaptive_sd.offline.record import record_answers, recorded_stage
from adaptive_sd.offline.recording import RecordedStage, Recording
from adaptive_sd.stage import Stage
from adaptive_sd.styles import STEP_STYLES
from adaptive_sd.types import Draft, Sampling


def record_votes(
    tasks: Sequence[Task],
    stage: Stage,
    count: int,
    recording: Recording,
    *,
    graders: Graders,
    on_progress: Callable[[int, int], None],
) -> None:
    """Record `count` answers to each task: the i-th is that of the recording's stage NAME#i.

    The stage must use STEP_STYLES; tasks of other forms are left out. Raises DataError where
    none is left, and for an id that stands for two prompts. Answers that are recorded already are
    not run again; where the stage failed, it is.
    """
    chosen = [task for task in tasks if detect_form(task.prompt) in STEP_STYLES]
    if not chosen:
        raise DataError(
            "no prompt wants a choice or a number, which are answered in steps; give some that do, "
            "or leave out --votes."
        )
    single = recorded_stage(stage)._replace(votes=1)
    names = [f"{stage.name}#{i + 1}" for i in range(count)]
    recording.put_stages([single._replace(name=name) for name in names])
    chosen = recording.put_tasks(chosen)
    done = recording.done()
    for number, task in enumerate(chosen):
        on_progress(number, len(chosen))
        missing = [i for i in range(count) if (task.id, i) not in done]
        if missing:
            _record_one(task, stage, count, missing, recording, graders)
    on_progress(len(chosen), len(chosen))


def holds_votes(stages: Sequence[RecordedStage]) -> bool:
    """Whether these are the stages of `record_votes`, whose answers are one stage's votes."""
    name = stages[0].name.rpartition("#")[0] if stages else ""
    return [stage.name for stage in stages] == [f"{name}#{i + 1}" for i in range(len(stages))]


def _record_one(
    task: Task,
    stage: Stage,
    count: int,
    missing: Sequence[int],
    recording: Recording,
    graders: Graders,
) -> None:
    form = detect_form(task.prompt)
    _, style = stage.style_of(form)
    limit = stage.token_limit(task.prompt, form)
    sampling = Sampling(limit, TEMPERATURE)

    def answer() -> list[Draft]:
        drafts = stage.sample(task.prompt, sampling, count, form=form)
        return [drafts[i] for i in missing]

    record_answers(answer, task, missing, style, recording, graders)
