"""Task sets: bundled ones by name, those of the public hub, others as JSONL files."""

from __future__ import annotations

import contextlib
import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from adaptive_sd.data.grading import refusal
from adaptive_sd.data.lines import numbered_lines
from adaptive_sd.data.own_grader import installed_grader, installed_names
from adaptive_sd.errors import DataError

_FOLDER = Path(__file__).with_name("bundled")
_PARTS_OF_MIX = ("mmlu-subset", "gsm8k-subset", "humaneval-subset", "squad-subset")


@dataclass(frozen=True, slots=True)
class Task:
    """One prompt with what its answer is graded against."""

    id: str
    dataset: str
    category: str
    prompt: str
    answer: str
    grader: str
    extra: Mapping[str, object] = field(default_factory=dict)


def bundled_names() -> list[str]:
    return ["demo-mix", *sorted(path.stem for path in _FOLDER.glob("*.jsonl"))]


def load_tasks(name: str, limit: int | None = None) -> list[Task]:
    """A bundled set, a hub set (hub:NAME) or a JSONL file, the first `limit` prompts of it.

    demo-mix is every prompt of the four subsets, evenly mixed from the start, so that its first
    prompts are a mix too. Raises DataError naming the near sets, or the file, line and field.
    """
    if name.startswith("hub:"):
        from adaptive_sd.data.hub.load import load_hub  # it makes Tasks: imported when asked for

        return load_hub(name.removeprefix("hub:"))[:limit]
    tasks = _mix() if name == "demo-mix" else list(_read(_find(name)))
    return tasks[:limit]


def _mix() -> list[Task]:
    parts = [list(_read(_find(name))) for name in _PARTS_OF_MIX]
    placed = [
        ((place + 0.5) / len(part), number, task)  # the share of its part that stands before it
        for number, part in enumerate(parts)
        for place, task in enumerate(part)
    ]
    return [task for _, _, task in sorted(placed, key=lambda entry: entry[:2])]


def _find(name: str) -> Path:
    bundled = _FOLDER / f"{name}.jsonl"
    if name in bundled_names():
        return bundled
    path = Path(name)
    with contextlib.suppress(OSError):  # a name too long for a file
        if path.is_file():
            return path
    near = difflib.get_close_matches(name[:200], bundled_names(), 1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise DataError(
        f"no task set {name[:200]!r}: {hint}bundled sets: {', '.join(bundled_names())}; "
        "or give a JSONL file, or hub:NAME for a set of the public hub."
    )


def _read(path: Path) -> Iterator[Task]:
    seen: set[str] = set()
    for number, line in numbered_lines(path):
        task = _parse(line, f"{path}, line {number}")
        if task.id in seen:
            raise DataError(f"{path}, line {number}: id {task.id!r} comes twice; change one.")
        seen.add(task.id)
        yield task


def _parse(line: str, where: str) -> Task:
    try:
        raw = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON ({error}).") from error
    if not isinstance(raw, dict):
        raise DataError(f"{where}: {raw!r:.40} is not an object.")
    values: dict[str, object] = {}
    for known in fields(Task):
        value = raw.get(known.name, {} if known.name == "extra" else None)
        wanted = dict if known.name == "extra" else str
        if not isinstance(value, wanted):
            must = "an object" if wanted is dict else "text"
            raise DataError(f"{where}: field {known.name!r} is {value!r:.40}; it must be {must}.")
        values[known.name] = value
    task = Task(**values)  # type: ignore[arg-type]
    check_task(task, where)
    return task


def check_task(task: Task, where: str) -> None:
    """Raise DataError for a task that can never be asked or graded: before hours of recording.

    Raises ConfigError when it names an installed grader that cannot be loaded.
    """
    for name, text in (("id", task.id), ("prompt", task.prompt), ("answer", task.answer)):
        _check_text(text, f"{where}: field {name!r}", may_be_empty=name == "answer")
    if reason := refusal(task, installed_names()):
        raise DataError(f"{where}: field {reason}.")
    if task.grader in installed_names():
        installed_grader(task.grader)


def _check_text(text: str, where: str, *, may_be_empty: bool) -> None:
    if not may_be_empty and not text.strip():
        raise DataError(f"{where} is empty.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(f"{where} is not valid Unicode ({error}).") from error
