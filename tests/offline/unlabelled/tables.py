"""The scripted ladder's answers to prompts without labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from adaptive_sd.data.outcomes import OutcomeTable, read_outcomes, write_outcomes
from adaptive_sd.data.tasks import Task
from adaptive_sd.offline.export import export_recordings
from tests.ladder import make_recording, make_stages, make_tasks


def unlabelled_tasks(count: int, num_others: int = 0) -> list[Task]:
    """Sums, and questions of another form."""
    sums = [replace(task, answer="", grader="none") for task in make_tasks(count)]
    others = [
        replace(task, id=f"other{n}", prompt=f"Who wrote book {n}?", answer="", grader="none")
        for n, task in enumerate(make_tasks(num_others))
    ]
    return [*sums, *others]


def unlabelled_table(folder: Path, tasks: list[Task]) -> OutcomeTable:
    path = folder / "recording.sqlite"
    make_recording(path, tasks, make_stages(folder))
    exported = export_recordings([path])
    write_outcomes(exported.table, exported.stages, folder / "table.parquet")
    return read_outcomes(folder / "table.parquet", ungraded=True)
