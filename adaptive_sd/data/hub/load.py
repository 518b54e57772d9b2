"""Reads a hub data set, or a local copy of it, into tasks."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable
from pathlib import Path

from adaptive_sd.data.hub.rows import Row
from adaptive_sd.data.hub.sets import HUB_SETS, HubSet
from adaptive_sd.data.tasks import Task, check_task
from adaptive_sd.errors import ConfigError, DataError


def load_hub(name: str) -> list[Task]:
    """The tasks of `NAME`, fetched from the hub, or of `NAME=FILE`, a local copy (Parquet, JSON).

    Raises DataError for an unknown name, a set that cannot be read or a row of another schema,
    and ConfigError without the package `datasets`.
    """
    name, _, copy = name.partition("=")
    if name not in HUB_SETS:
        near = difflib.get_close_matches(name, HUB_SETS, 1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise DataError(f"no hub set {name[:200]!r}: {hint}known: {', '.join(HUB_SETS)}.")
    found = HUB_SETS[name]
    tasks: list[Task] = []
    for config in found.configs[:1] if copy else found.configs:
        rows = _read_copy(Path(copy)) if copy else _fetch(found, config)
        prefix = name if len(found.configs) == 1 or copy else f"{name}/{config}"
        tasks += tasks_of(rows, found, name, prefix)
    return tasks


def tasks_of(rows: Iterable[Row], found: HubSet, name: str, prefix: str) -> list[Task]:
    """Rows as tasks, `prefix` before each id; raises DataError naming the row that has no place."""
    tasks = []
    for number, row in enumerate(rows):
        where = f"hub:{prefix}, row {number}"
        try:
            question = found.to_question(row)
        except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
            raise DataError(f"{where}: not of the schema of {found.hub_id} ({error!r}).") from error
        if question is None:
            continue
        task = Task(
            id=f"{prefix}/{number if question.key is None else question.key}",
            dataset=name,
            category=question.category or name,
            prompt=question.prompt,
            answer=question.answer,
            grader=question.grader,
            extra=question.extra,
        )
        check_task(task, where)
        tasks.append(task)
    return tasks


def _read_copy(path: Path) -> Iterable[Row]:
    kind = {".parquet": "parquet", ".json": "json", ".jsonl": "json"}.get(path.suffix)
    if kind is None or not path.is_file():
        raise DataError(
            f"{path}: no such file, or neither .parquet, .json nor .jsonl; hub:NAME=FILE reads a "
            "local copy of one of these."
        )
    return _load(str(path), kind, data_files=str(path), split="train")


def _fetch(found: HubSet, config: str | None) -> Iterable[Row]:
    if found.files is None:
        return _load(found.hub_id, found.hub_id, config, split=found.split)
    files = found.files.format(config=config)
    kind = "parquet" if files.endswith(".parquet") else "json"
    return _load(found.hub_id, kind, data_files=files, split="train")


def _load(where: str, *arguments: str | None, **options: str) -> Iterable[Row]:
    try:
        import datasets  # an extra, and it takes a second
    except ImportError as error:
        raise ConfigError(
            "hub sets need the package `datasets`: pip install 'adaptive-sd[datasets]'."
        ) from error
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    try:
        rows: Iterable[Row] = datasets.load_dataset(*arguments, **options)
        return rows
    except Exception as error:  # of many libraries: HTTP, Arrow, file systems, its own
        first = (str(error).splitlines() or [""])[0][:200]
        raise DataError(
            f"{where}: cannot be read ({type(error).__name__}: {first}); a file that is here can "
            "be read as hub:NAME=FILE."
        ) from error
