"""Recorded by the workers of a local Ray: the local recorder's rows, also where one is killed."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ray", reason="ray is not installed; make test-ray installs it")

from adaptive_sd.cli import run
from adaptive_sd.data.graders import Graders
from adaptive_sd.data.tasks import Task
from adaptive_sd.distributed.placement import Placement
from adaptive_sd.distributed.recording import record
from adaptive_sd.engines.fake import FakeEngine
from adaptive_sd.errors import ConfigError, ContextOverflowError
from adaptive_sd.offline.recording import Recording
from adaptive_sd.stage import Stage
from tests.engines.margin import TINY_NOISE, assert_same_up_to_margin
from tests.ladder import SKILL, make_engine, make_recording, make_stages, make_tasks
from tests.offline.test_record import Interrupted, comparable, outcomes_of

pytestmark = [
    pytest.mark.usefixtures("local_ray"),
    pytest.mark.filterwarnings("default"),  # Ray's own
]

STAGES = list(SKILL)[:2]
FATAL, TOO_LONG = "#7:", "#3:"
"""Of prompts: one on which a worker is killed the first time, one that no stage can read."""


def scripted(name: str, mark: Path | None) -> FakeEngine:
    """As tests.ladder's; at the fatal prompt it kills its process unless `mark` is there."""
    engine = make_engine(name)
    script = engine._script

    def answer(prompt: str) -> str:
        if TOO_LONG in prompt:
            raise ContextOverflowError(f"{name}: the prompt is too long")
        if FATAL in prompt and mark is not None and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return script(prompt)

    engine._script = answer
    return engine


def open_stage(name: str, folder: Path, mark: Path | None) -> Stage:
    return Stage(name, load=partial(scripted, name, mark), rates_path=folder / "rates.json")


def ladder(folder: Path, *, killed: str | None = None) -> list[Placement]:
    """Two workers at a time have room; the one of stage `killed` is killed once."""
    marks = {name: folder / f"{name} was killed" if name == killed else None for name in STAGES}
    return [Placement(n, partial(open_stage, n, folder, marks[n]), 0.5) for n in STAGES]


def record_there(
    path: Path,
    tasks: list[Task],
    placements: list[Placement],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    with Recording(path) as recording:
        record(tasks, placements, recording, graders=Graders(), on_progress=on_progress)


def rows_of(path: Path) -> tuple[list[object], set[object]]:
    """All that was recorded but for seconds."""
    outcomes = [o if o.draft is None else comparable(o) for o in outcomes_of(path)]
    with Recording(path, read_only=True) as recording:
        return outcomes, set(recording.pairs())


def local_rows(folder: Path, tasks: list[Task]) -> tuple[list[object], set[object]]:
    stages = [open_stage(name, folder, None) for name in STAGES]
    make_recording(folder / "local.sqlite", tasks, stages)
    return rows_of(folder / "local.sqlite")


def test_with_a_worker_killed_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    tasks, counts = make_tasks(12), []
    record_there(
        tmp_path / "there.sqlite",
        tasks,
        ladder(tmp_path, killed="middle"),
        lambda done, total: counts.append((done, total)),
    )
    assert (tmp_path / "middle was killed").exists()
    assert rows_of(tmp_path / "there.sqlite") == local_rows(tmp_path, tasks)
    assert counts == [(n, 24) for n in range(25)]


def test_an_interrupted_recording_goes_on_and_asks_nothing_twice(tmp_path: Path) -> None:
    path, tasks = tmp_path / "there.sqlite", make_tasks(8)

    def interrupt(done: int, total: int) -> None:
        if done == 10:
            raise Interrupted

    with pytest.raises(Interrupted):
        record_there(path, tasks, ladder(tmp_path), interrupt)
    before = outcomes_of(path)
    assert len(before) == 10
    counts: list[int] = []
    record_there(path, tasks, ladder(tmp_path), lambda done, total: counts.append(done))
    failed = sum(outcome.draft is None for outcome in before)
    assert counts == list(range(10 - failed, 17))
    assert rows_of(path) == local_rows(tmp_path, tasks)


def test_a_stage_that_no_machine_has_room_for_is_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    with pytest.raises(ConfigError, match="'small' needs 64 CPU a worker"):
        record_there(
            tmp_path / "there.sqlite",
            make_tasks(1),
            [dataclasses.replace(ladder(tmp_path)[0], num_cpus=64)],
        )
    assert not outcomes_of(tmp_path / "there.sqlite")


def test_what_a_worker_lacks_is_told_as_here(tmp_path: Path) -> None:
    nowhere = partial(Stage, str(tmp_path / "nowhere.gguf"), rates_path=tmp_path / "rates.json")
    with pytest.raises(Exception, match=r"nowhere\.gguf") as here:
        nowhere()
    with pytest.raises(type(here.value)) as there:
        record_there(tmp_path / "r.sqlite", make_tasks(1), [Placement("nowhere", nowhere)])
    assert str(there.value) == str(here.value)


def test_stages_that_are_others_now_are_refused(tmp_path: Path) -> None:
    make_recording(tmp_path / "there.sqlite", make_tasks(1), make_stages(tmp_path)[1:])
    with pytest.raises(Exception, match="Use a new file"):
        record_there(tmp_path / "there.sqlite", make_tasks(1), ladder(tmp_path))


def test_the_command_records_of_a_real_model_what_it_does_without(
    tmp_path: Path, tiny_path: Path
) -> None:
    """Up to the noise of the kernels: a worker has one thread, and finds other beginnings kept."""
    rows = [
        dataclasses.asdict(task) | {"prompt": f"Write a poem about the number {i}."}
        for i, task in enumerate(make_tasks(4))
    ]
    (tmp_path / "tasks.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = []
    for more in ([], ["--ray"]):
        out = tmp_path / f"recording{len(more)}.sqlite"
        asked = ["record", str(tmp_path / "tasks.jsonl"), "--out", str(out), *more]
        assert run([*asked, "--stages", str(tiny_path), "--offline"]) == 0
        found.append([outcome.draft for outcome in outcomes_of(out) if outcome.draft])
    assert len(found[0]) == 4
    for here, there in zip(*found, strict=True):
        assert here.tokens_in == there.tokens_in
        assert_same_up_to_margin(here, there, TINY_NOISE)
        same = [a == b for a, b in zip(here.token_ids, there.token_ids, strict=False)]
        alike = (*same, False).index(False)
        for evidence in ("token_logprobs", "token_entropies", "token_margins"):
            ours, theirs = getattr(here, evidence)[:alike], getattr(there, evidence)[:alike]
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=8 * TINY_NOISE)
