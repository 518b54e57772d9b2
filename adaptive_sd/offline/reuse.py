"""What earlier recordings hold of the answers that a ladder's stages would give."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from adaptive_sd.data.tasks import Task
from adaptive_sd.election import Election, end_early
from adaptive_sd.forms import Form, detect_form
from adaptive_sd.offline.record import recorded_stage
from adaptive_sd.offline.recording import Outcome, RecordedStage, Recording
from adaptive_sd.offline.votes import holds_votes
from adaptive_sd.stage import Stage

_NOT_GRADED = "taken over from another task, and not graded since"


def take_over(
    tasks: Sequence[Task],
    stages: Sequence[Stage],
    recording: Recording,
    earlier: Sequence[Recording],
) -> int:
    """Copy from earlier recordings what the same stages answered to prompts of the same text.

    The same: model file, engine, style and number of votes. Votes may also come from a recording
    of `record_votes`, of which the first ones are taken. The grade comes along where tasks differ
    in name only. Returns the number of answers that were copied.
    """
    recording.put_stages([recorded_stage(stage) for stage in stages])
    recording.put_tasks(tasks)
    wanted: defaultdict[str, list[Task]] = defaultdict(list)
    for task in recording.tasks():
        wanted[task.prompt].append(task)
    graded: dict[tuple[str, int], Outcome] = {}
    ungraded: dict[tuple[str, int], Outcome] = {}
    for other in earlier:
        recorded, asked = other.stages(), {task.id: task for task in other.tasks()}
        find = _elected if holds_votes(recorded) else _answered
        for prompt_id, given in groupby(other.outcomes(), key=lambda outcome: outcome.prompt_id):
            tasks_of_text = wanted.get(asked[prompt_id].prompt)
            if not tasks_of_text:
                continue
            answers = [outcome for outcome in given if outcome.draft is not None]
            form = detect_form(asked[prompt_id].prompt)
            for outcome in find(form, stages, answers, recorded):
                for task in tasks_of_text:
                    found = graded if _grades_alike(task, asked[prompt_id]) else ungraded
                    key = (task.id, outcome.stage_index)
                    found.setdefault(key, outcome._replace(prompt_id=task.id))
    copied = graded | {
        key: outcome._replace(quality=None, reason=_NOT_GRADED, grader_version="")
        for key, outcome in ungraded.items()
        if key not in graded
    }
    done = recording.done()
    missing = [outcome for key, outcome in copied.items() if key not in done]
    recording.put_outcomes(missing)
    return len(missing)


def _grades_alike(task: Task, other: Task) -> bool:
    """Whether they differ in name only."""
    return replace(other, id=task.id, dataset=task.dataset, category=task.category) == task


def _answered(
    form: Form,
    stages: Sequence[Stage],
    answers: Sequence[Outcome],
    recorded: Sequence[RecordedStage],
) -> Iterator[Outcome]:
    """The answers to one prompt that the stages themselves gave."""
    for index, stage in enumerate(stages):
        wanted = (stage.engine.info, stage.style_of(form)[1], stage.num_votes(form))
        for outcome in answers:
            info = recorded[outcome.stage_index].info
            if (info, outcome.style, outcome.num_votes) == wanted:
                yield outcome._replace(stage_index=index)


def _elected(
    form: Form,
    stages: Sequence[Stage],
    answers: Sequence[Outcome],
    recorded: Sequence[RecordedStage],
) -> Iterator[Outcome]:
    """What the stages would elect, ending as early, among recorded votes on one prompt.

    The time that they took is what those votes took that were recorded together.
    """
    for index, stage in enumerate(stages):
        count = stage.num_votes(form)
        votes = [outcome for outcome in answers if outcome.stage_index < count]
        wanted = (stage.engine.info, stage.style_of(form)[1])
        if count == 1 or len(votes) < count or (recorded[0].info, votes[0].style) != wanted:
            continue  # a single sampled answer is no plain one
        election = Election(form, count)
        drafts = [vote.draft for vote in votes if vote.draft is not None]
        elected = election.result(end_early(drafts, election.is_decided))
        grade = next(vote for vote in votes if vote.draft and vote.draft.text == elected.text)
        yield grade._replace(stage_index=index, draft=elected)
