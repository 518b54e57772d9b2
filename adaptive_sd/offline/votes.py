"""Sampled step-by-step answers of one stage, recorded so that any vote of them can be replayed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.data.graders import Graders
from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.data.tasks import Task
from adaptive_sd.errors import CancelledError, DataError, EngineClosedError, EngineError
from adaptive_sd.forms import Form, canonical_answer, detect_form
from adaptive_sd.offline.recording import RecordedStage, Recording
from adaptive_sd.stage import Stage
from adaptive_sd.types import Sampling

STEP_STYLES = {Form.CHOICE: "few_reason", Form.NUMBER: "few_steps"}
"""The forms that have a style which reasons before it answers, and that style."""

TEMPERATURE = 0.7


class Votes(NamedTuple):
    """Majority answers of N prompts. `cost` (N,): all votes decoded together."""

    answer: tuple[str, ...]
    quality: NDArray[np.float64]
    cost: NDArray[np.float64]
    agreement: NDArray[np.float64]  # (N,), share of the votes that gave the majority's answer


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
    none is left. What is recorded already is not run again.
    """
    chosen = [task for task in tasks if detect_form(task.prompt) in STEP_STYLES]
    if not chosen:
        raise DataError("no prompt wants a choice or a number, which are answered in steps.")
    rates = stage.rates or stage.engine.measure_rates()
    names = [f"{stage.name}#{i + 1}" for i in range(count)]
    info, styles = stage.engine.info, stage.style_names()
    recording.put_stages([RecordedStage(name, info, styles, rates) for name in names])
    recording.put_tasks(chosen)
    done = recording.done()
    for number, task in enumerate(chosen):
        on_progress(number, len(chosen))
        missing = [i for i in range(count) if (task.id, i) not in done]
        if missing:
            _record_one(task, stage, count, missing, recording, graders)
    on_progress(len(chosen), len(chosen))


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
    try:
        drafts = stage.sample(task.prompt, Sampling(limit, TEMPERATURE), count, form=form)
    except (CancelledError, EngineClosedError):  # the user's end of the run, not a bad prompt
        raise
    except EngineError as error:
        for i in missing:
            recording.put_error(task, i, style, str(error))
        return
    for i in missing:
        recording.put_outcome(task, i, style, drafts[i], graders.grade(task, drafts[i].text))


def majority(answers: Sequence[str]) -> int:
    """Place of the first answer that is as frequent as any; no answer ("") has no vote."""
    counts = Counter(answer for answer in answers if answer)
    if not counts:
        return 0
    return next(i for i, answer in enumerate(answers) if counts[answer] == max(counts.values()))


def count_votes(table: OutcomeTable, count: int) -> Votes:
    """The majority of the first `count` votes of a table made by `record_votes`.

    Raises DataError for a table without rates or with fewer votes.
    """
    rates = table.stages[0].rates
    if rates is None or not 1 <= count <= len(table.stages):
        raise DataError(f"{count} votes: the table has {len(table.stages)}, or lacks rates.")
    columns = table.columns
    answers, places, costs, shares = [], [], [], []
    tokens_in, num_cached, tokens_out, cut = (
        columns[name].astype(np.float64)
        for name in ("tokens_in", "num_cached", "tokens_out", "signal_finished_by_length")
    )
    num_chosen, uncached = tokens_out + (cut == 0), (tokens_in - num_cached)[:, 0]
    for n, prompt in enumerate(columns["prompt"][:, 0]):
        texts = [str(text) for text in columns["answer"][n, :count]]
        canonical = [canonical_answer(text, detect_form(str(prompt))) for text in texts]
        place = majority(canonical)
        answers.append(texts[place])
        places.append(place)
        shares.append(canonical.count(canonical[place]) / count if canonical[place] else 0.0)
        costs.append(rates.votes_s(int(uncached[n]), [int(c) for c in num_chosen[n, :count]]))
    return Votes(
        answer=tuple(answers),
        quality=table.quality[np.arange(len(places)), places],
        cost=np.array(costs),
        agreement=np.array(shares),
    )
