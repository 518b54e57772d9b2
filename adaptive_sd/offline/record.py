"""Runs every stage on every prompt, grades the answers and stores them; resumable."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from adaptive_sd.data.grading import grade
from adaptive_sd.data.tasks import Task
from adaptive_sd.engines.verification import common_prefix
from adaptive_sd.errors import EngineError
from adaptive_sd.forms import Form, detect_form
from adaptive_sd.offline.recording import Pair, RecordedStage, Recording
from adaptive_sd.stage import Stage
from adaptive_sd.types import Sampling


def record(
    tasks: Sequence[Task],
    stages: Sequence[Stage],
    recording: Recording,
    *,
    on_progress: Callable[[int, int], None],
    reuse: Sequence[Recording] = (),
) -> None:
    """Fill `recording`; what it holds already is not run again, but graded by today's graders.

    Greedy answers in each stage's own style; those of the recordings in `reuse` are taken over
    where they are the same stage's. A stage that fails on a prompt leaves an error row;
    `on_progress` gets (answers recorded, answers wanted).
    """
    recording.put_stages([_recorded(stage) for stage in stages])
    recording.put_tasks(tasks)
    for earlier in reuse:
        recording.reuse(earlier, lambda task, index: _style_of(task, stages[index])[1])
    recording.regrade(grade)
    done = recording.done()
    wanted = [(t, i) for t in tasks for i in range(len(stages)) if (t.id, i) not in done]
    total = len(tasks) * len(stages)
    for count, (task, index) in enumerate(wanted, start=total - len(wanted)):
        on_progress(count, total)
        _record_one(task, index, stages[index], recording)
    on_progress(total, total)
    record_pairs(stages, recording)


def _recorded(stage: Stage) -> RecordedStage:
    rates = stage.rates or stage.engine.measure_rates()
    return RecordedStage(stage.name, stage.engine.info, stage.style_names(), rates)


def record_pairs(stages: Sequence[Stage], recording: Recording) -> None:
    """Note, for every earlier draft and later stage, how far that stage would accept it.

    A greedy target accepts exactly the prefix that its own answer shares with the draft.
    """
    known = {pair[:3] for pair in recording.pairs()}
    drafts = {(o.prompt_id, o.stage_index): o.draft for o in recording.outcomes()}
    for (prompt_id, target), own in drafts.items():
        for earlier in range(target):
            draft = drafts.get((prompt_id, earlier))
            if own is None or draft is None or (prompt_id, earlier, target) in known:
                continue
            tokens = stages[target].engine.tokenize(draft.text)
            ended = [tokens[-1]] if own.finish_reason == "stop" else []
            agreed = common_prefix(tokens, [*own.token_ids, *ended])
            recording.put_pair(Pair(prompt_id, earlier, target, len(tokens), agreed))


def _record_one(task: Task, index: int, stage: Stage, recording: Recording) -> None:
    form, style = _style_of(task, stage)
    sampling = Sampling(max_tokens=stage.token_limit(task.prompt, form))
    try:
        draft = stage.run(task.prompt, sampling, form=form)
    except EngineError as error:
        recording.put_error(task, index, style, str(error))
        return
    recording.put_outcome(task, index, style, draft, grade(task, draft.text))


def _style_of(task: Task, stage: Stage) -> tuple[Form, str]:
    return stage.style_of(detect_form(task.prompt))  # as live: no label helps
