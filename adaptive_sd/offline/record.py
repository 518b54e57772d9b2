"""Runs every stage on every prompt, grades the answers and stores them; resumable."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from adaptive_sd.data.graders import Graders
from adaptive_sd.data.tasks import Task
from adaptive_sd.errors import CancelledError, EngineClosedError, EngineError
from adaptive_sd.forms import Form, detect_form
from adaptive_sd.offline.recording import Pair, RecordedStage, Recording
from adaptive_sd.stage import Stage
from adaptive_sd.types import Draft, Offer, Sampling

OnProgress = Callable[[int, int], None]
"""Called with (done, total)."""


def record(
    tasks: Sequence[Task],
    stages: Sequence[Stage],
    recording: Recording,
    *,
    graders: Graders,
    on_progress: OnProgress,
) -> None:
    """Fill `recording`; answers that it holds already are not run again.

    Greedy answers in each stage's own style. A stage that fails on a prompt leaves an error row,
    and is tried again another time. Raises DataError for an id that stands for two prompts.
    """
    recording.put_stages([_recorded(stage) for stage in stages])
    tasks = recording.put_tasks(tasks)
    done = recording.done()
    total = len(tasks) * len(stages)
    count = sum((task.id, index) in done for task in tasks for index in range(len(stages)))
    for task in tasks:
        missing = [index for index in range(len(stages)) if (task.id, index) not in done]
        for index in missing:
            on_progress(count, total)
            _record_one(task, index, stages[index], recording, graders)
            count += 1
        if missing:
            record_pairs(stages, recording, task.id)
    on_progress(total, total)
    record_pairs(stages, recording)  # what an interrupted run has left out


def take_over(
    tasks: Sequence[Task],
    stages: Sequence[Stage],
    recording: Recording,
    earlier: Sequence[Recording],
) -> None:
    """Copy from earlier recordings what the same stages answered to the same prompts."""
    recording.put_stages([_recorded(stage) for stage in stages])
    recording.put_tasks(tasks)
    for other in earlier:
        recording.reuse(other, lambda task, index: _style_of(task, stages[index])[1])


def regrade(recording: Recording, graders: Graders, *, on_progress: OnProgress) -> None:
    """Grade again what other graders, or another version of them, have graded.

    A grade is kept where none can be given now.
    """
    tasks = {task.id: task for task in recording.tasks()}
    outdated = [g for g in recording.graded() if graders.is_outdated(tasks[g.prompt_id], g.version)]
    for count, old in enumerate(outdated, start=1):
        given = graders.grade(tasks[old.prompt_id], old.text)
        if given.version or old.quality is None:
            recording.put_grade(old.prompt_id, old.stage_index, given)
        on_progress(count, len(outdated))


def _recorded(stage: Stage) -> RecordedStage:
    rates = stage.rates or stage.engine.measure_rates()
    return RecordedStage(stage.name, stage.engine.info, stage.style_names(), rates)


def record_pairs(
    stages: Sequence[Stage], recording: Recording, prompt_id: str | None = None
) -> None:
    """Note, for every earlier draft and later stage, the tokens that stage would verify.

    Of all prompts, or of one. An end of turn is noted also where the draft was cut: it tells the
    target's. A target that cannot verify has no pairs.
    """
    known = recording.paired()
    drafts = {(o.prompt_id, o.stage_index): o.draft for o in recording.outcomes(prompt_id)}
    for (answered, target), own in drafts.items():
        for earlier in range(target):
            draft = drafts.get((answered, earlier))
            if own is None or draft is None or (answered, earlier, target) in known:
                continue
            ends = stages[earlier].engine.token_ends(draft.token_ids)
            offer = Offer(draft.text, ends, draft.token_logprobs)
            tokens = stages[target].engine.draft_tokens(offer)
            if tokens.token_ids:
                recording.put_pair(Pair(answered, earlier, target, tokens))


def record_answers(
    answer: Callable[[], Sequence[Draft]],
    task: Task,
    places: Sequence[int],
    style: str,
    recording: Recording,
    graders: Graders,
) -> None:
    """Store the drafts that `answer` gives, graded, at the stages `places`; or why it failed."""
    try:
        drafts = answer()
    except (CancelledError, EngineClosedError):  # the user's end of the run, not a bad prompt
        raise
    except EngineError as error:
        for place in places:
            recording.put_error(task, place, style, str(error))
        return
    for place, draft in zip(places, drafts, strict=True):
        recording.put_outcome(task, place, style, draft, graders.grade(task, draft.text))


def _record_one(
    task: Task, index: int, stage: Stage, recording: Recording, graders: Graders
) -> None:
    form, style = _style_of(task, stage)
    sampling = Sampling(max_tokens=stage.token_limit(task.prompt, form))
    record_answers(
        lambda: [stage.run(task.prompt, sampling, form=form)],
        *(task, [index], style, recording, graders),
    )


def _style_of(task: Task, stage: Stage) -> tuple[Form, str]:
    return stage.style_of(detect_form(task.prompt))  # as live: no label helps
