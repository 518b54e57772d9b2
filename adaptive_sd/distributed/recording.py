"""Records on a Ray cluster: its workers answer, this process grades and writes.

A worker that dies has its prompt done again by another; what is written is whole at any time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from adaptive_sd.data.graders import Graders
from adaptive_sd.data.tasks import Task
from adaptive_sd.distributed.cluster import check_room, cluster, load_ray
from adaptive_sd.distributed.placement import Placement
from adaptive_sd.errors import EngineError
from adaptive_sd.forms import Form, detect_form
from adaptive_sd.offline.record import (
    OnProgress,
    pairs_with,
    plain_draft,
    record_draft,
    recorded_drafts,
    recorded_stage,
    style_of,
)
from adaptive_sd.offline.recording import Pair, RecordedStage, Recording
from adaptive_sd.types import Draft, Offer


def record(
    tasks: Sequence[Task],
    ladder: Sequence[Placement],
    recording: Recording,
    *,
    graders: Graders,
    on_progress: OnProgress,
    address: str | None = None,
) -> None:
    """As offline.record.record, by all machines of the cluster at `address`, else by this one.

    Each worker holds one stage, which is loaded once and warmed up. Raises ConfigError as `cluster`
    does and where a worker would find no room, and what opening a stage raises.
    """
    with cluster(address):
        check_room(ladder)
        recording.put_stages([_describe(placement) for placement in ladder])
        tasks = recording.put_tasks(tasks)
        done = recording.done()
        missing = [[t for t in tasks if (t.id, i) not in done] for i in range(len(ladder))]
        total = len(tasks) * len(ladder)
        count = total - sum(map(len, missing))
        for found in _answers(ladder, missing):
            on_progress(count, total)
            record_draft(found.draft, found.task, found.index, found.style, recording, graders)
            count += 1
        on_progress(total, total)
        for pair in _pairs(ladder, recording):
            recording.put_pair(pair)


def _describe(placement: Placement) -> RecordedStage:
    """By a worker of its own, before any other loads its machine: rates are measured there."""
    ray = load_ray()
    task = ray.remote(_described).options(**placement.resources)
    described: RecordedStage = ray.get(task.remote(placement))
    return described


def _described(placement: Placement) -> RecordedStage:
    with placement.open() as stage:
        return recorded_stage(stage)


@dataclass(frozen=True, slots=True, eq=False)
class _Answer:
    """What a stage made of a task."""

    task: Task
    index: int
    style: str
    result: Draft | EngineError

    def draft(self) -> Draft:
        """Raises EngineError where the stage failed."""
        if isinstance(self.result, EngineError):
            raise self.result
        return self.result


def _answers(ladder: Sequence[Placement], missing: Sequence[Sequence[Task]]) -> Iterator[_Answer]:
    """As they come: all stages at work as far as there is room."""
    parts = []
    for index, (placement, tasks) in enumerate(zip(ladder, missing, strict=True)):
        if tasks:
            forms = tuple(dict.fromkeys(detect_form(task.prompt) for task in tasks))
            parts.append(_map(_rows(tasks), _Answering, (placement, index, forms), placement))
    if parts:
        first, *others = parts
        whole = first.union(*others) if others else first  # Ray has no union of one
        for row in whole.iter_rows():
            yield row["item"]


class _Answering:
    """A worker that answers with one stage."""

    def __init__(self, placement: Placement, index: int, forms: Sequence[Form]) -> None:
        self._index = index
        self._stage = placement.open()
        self._stage.warm_up(forms)

    def __call__(self, row: dict[str, Task]) -> dict[str, _Answer]:
        task = row["item"]
        result: Draft | EngineError
        try:
            result = plain_draft(task, self._stage)
        except EngineError as error:
            result = type(error)(*error.args)  # without its trace, which may not travel
        return {"item": _Answer(task, self._index, style_of(task, self._stage), result)}


@dataclass(frozen=True, slots=True, eq=False)
class _Unpaired:
    """The drafts of a prompt on their way up the ladder."""

    prompt_id: str
    drafts: dict[int, Draft]
    offers: dict[int, Offer]
    pairs: list[Pair]


def _pairs(ladder: Sequence[Placement], recording: Recording) -> Iterator[Pair]:
    """Of all prompts that lack one: each stage in turn reads the earlier ones' drafts."""
    items = [
        _Unpaired(prompt_id, {i: replace(d, hidden=None) for i, d in drafts.items()}, {}, [])
        for prompt_id in recording.unpaired()
        if (drafts := recorded_drafts(recording, prompt_id))
    ]
    if not items:
        return
    rows = _rows(items)
    for index, placement in enumerate(ladder):
        rows = _map(rows, _Pairing, (placement, index), placement, most=1)
    for row in rows.iter_rows():
        yield from row["item"].pairs


class _Pairing:
    """A worker that reads drafts with one stage's tokenizer."""

    def __init__(self, placement: Placement, index: int) -> None:
        self._index = index
        self._engine = placement.open().engine

    def __call__(self, row: dict[str, _Unpaired]) -> dict[str, _Unpaired]:
        item, index = row["item"], self._index
        if (draft := item.drafts.get(index)) is not None:
            pairs = pairs_with(item.prompt_id, index, draft, self._engine, item.offers)
            item.pairs.extend(pairs)
        return {"item": item}


def _rows(items: Sequence[object]) -> Any:
    """A data set with a block for each: what is done is handed over, and done again, one by one."""
    data = load_ray("ray.data")
    data.DataContext.get_current().enable_progress_bars = False
    return data.from_items([{"item": item} for item in items], override_num_blocks=len(items))


def _map(
    rows: Any,
    worker: type[_Answering] | type[_Pairing],
    values: tuple[object, ...],
    placement: Placement,
    *,
    most: int | None = None,
) -> Any:
    """By `worker(*values)` on as many machines as there is room, or by so many at most."""
    pool = load_ray("ray.data").ActorPoolStrategy(min_size=1, max_size=most)
    return rows.map(worker, fn_constructor_args=values, compute=pool, **placement.resources)
