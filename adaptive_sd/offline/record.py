"""Runs every stage on every prompt, grades the answers and stores them; resumable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from adaptive_sd.data.graders import Graders
from adaptive_sd.data.tasks import Task
from adaptive_sd.engines.base import Engine
from adaptive_sd.errors import CancelledError, EngineClosedError, EngineError
from adaptive_sd.forms import detect_form
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
    recording.put_stages([recorded_stage(stage) for stage in stages])
    tasks = recording.put_tasks(tasks)
    done = recording.done()
    total = len(tasks) * len(stages)
    count = sum((task.id, index) in done for task in tasks for index in range(len(stages)))
    for task in tasks:
        missing = [index for index in range(len(stages)) if (task.id, index) not in done]
        for index in missing:
            on_progress(count, total)
            answer = partial(plain_draft, task, stages[index])
            record_draft(answer, task, index, style_of(task, stages[index]), recording, graders)
            count += 1
        if missing:
            record_pairs(stages, recording, task.id)
    on_progress(total, total)
    for prompt_id in recording.unpaired():
        record_pairs(stages, recording, prompt_id)  # what an interrupted run has left out


def warm_up(tasks: Sequence[Task], stages: Sequence[Stage], recording: Recording) -> None:
    """Have each stage read the worked examples for the tasks that it has yet to answer.

    Else the first of them would take the longer.
    """
    done = recording.done()
    for index, stage in enumerate(stages):
        missing = [task for task in tasks if (task.id, index) not in done]
        if forms := dict.fromkeys(detect_form(task.prompt) for task in missing):
            stage.warm_up(forms)


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


def recorded_stage(stage: Stage) -> RecordedStage:
    """The stage as a recording describes it; measures its rates where they are not known."""
    rates = stage.rates or stage.engine.measure_rates()
    return RecordedStage(stage.name, stage.engine.info, stage.style_names(), rates, stage.votes)


def record_pairs(stages: Sequence[Stage], recording: Recording, prompt_id: str) -> None:
    """Note, for every earlier draft and later stage, the tokens that stage would verify.

    An end of turn is noted also where the draft was cut: it tells the target's. Votes verify
    nothing, and a target that cannot verify has no pairs.
    """
    offers: dict[int, Offer] = {}
    for index, draft in recorded_drafts(recording, prompt_id).items():
        for pair in pairs_with(prompt_id, index, draft, stages[index].engine, offers):
            recording.put_pair(pair)


def recorded_drafts(recording: Recording, prompt_id: str) -> dict[int, Draft]:
    """Of the stages that answered, in their order."""
    outcomes = recording.outcomes(prompt_id)
    return {o.stage_index: o.draft for o in outcomes if o.draft is not None}


def pairs_with(
    prompt_id: str, target: int, draft: Draft, engine: Engine, offers: dict[int, Offer]
) -> list[Pair]:
    """The earlier stages' `offers` as the engine of `target` would verify them.

    Adds that stage's own `draft` to the offers.
    """
    found: list[Pair] = []
    if draft.votes is None:
        pairs = (Pair(prompt_id, i, target, engine.draft_tokens(o)) for i, o in offers.items())
        found = [pair for pair in pairs if pair.draft.token_ids]
    ends = engine.token_ends(draft.token_ids)
    offers[target] = Offer(draft.text, ends, draft.token_logprobs)
    return found


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


def plain_draft(task: Task, stage: Stage) -> Draft:
    """The stage's greedy answer as recordings hold it. Raises EngineError."""
    form = detect_form(task.prompt)  # as live: no label helps
    return stage.run(task.prompt, Sampling(stage.token_limit(task.prompt, form)), form=form)


def style_of(task: Task, stage: Stage) -> str:
    """In which the stage is asked."""
    return stage.style_of(detect_form(task.prompt))[1]


def record_draft(
    answer: Callable[[], Draft],
    task: Task,
    index: int,
    style: str,
    recording: Recording,
    graders: Graders,
) -> None:
    """As `record_answers`, of the one draft of stage `index`."""

    def answers() -> list[Draft]:
        draft = answer()
        known = _num_cached(recording, task, index, style)
        return [replace(draft, num_cached=min(draft.num_cached, *known))] if known else [draft]

    record_answers(answers, task, [index], style, recording, graders)


def _num_cached(recording: Recording, task: Task, index: int, style: str) -> list[int]:
    """What other stages of the same model found of this prompt in the cache that they share.

    Each is recorded as if it alone had been asked.
    """
    infos = [stage.info for stage in recording.stages()]
    return [
        outcome.draft.num_cached
        for outcome in recording.outcomes(task.id)
        if outcome.draft is not None
        and (infos[outcome.stage_index], outcome.style) == (infos[index], style)
    ]
