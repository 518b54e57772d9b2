"""Task sets: bundled ones by name, others as JSONL files."""

from __future__ import annotations

import difflib
import hashlib
import json
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from adaptive_sd.errors import DataError

_FOLDER = Path(__file__).with_name("bundled")
_PARTS_OF_MIX = ("mmlu-subset", "gsm8k-subset", "humaneval-subset", "squad-subset")
_MIX_EACH = 30


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
    """A bundled set or a JSONL file; demo-mix is the first 30 of each of the four subsets.

    Raises DataError naming the near sets, or the file, line and field.
    """
    if name == "demo-mix":
        tasks = [t for part in _PARTS_OF_MIX for t in load_tasks(part, _MIX_EACH)]
    else:
        tasks = list(_read(_find(name)))
    return tasks[:limit]


def _find(name: str) -> Path:
    bundled = _FOLDER / f"{name}.jsonl"
    if name in bundled_names():
        return bundled
    path = Path(name)
    if path.is_file():
        return path
    near = difflib.get_close_matches(name, bundled_names(), 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise DataError(
        f"no task set {name!r}: {hint}bundled sets: {', '.join(bundled_names())}; "
        "or give a JSONL file."
    )


def _read(path: Path) -> Iterator[Task]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}).") from error
    seen: set[str] = set()
    for number, line in enumerate(lines, start=1):
        if line.strip():
            task = _parse(line, f"{path}, line {number}")
            if task.id in seen:
                raise DataError(f"{path}, line {number}: id {task.id!r} comes twice.")
            seen.add(task.id)
            yield task


def _parse(line: str, where: str) -> Task:
    try:
        raw = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: not JSON ({error}).") from error
    if not isinstance(raw, dict):
        raise DataError(f"{where}: {raw!r:.40} is not an object.")
    values: dict[str, object] = {}
    for known in fields(Task):
        value = raw.get(known.name, {} if known.name == "extra" else None)
        wanted = dict if known.name == "extra" else str
        if not isinstance(value, wanted):
            raise DataError(f"{where}: field {known.name!r} is {value!r:.40}; it must be text.")
        values[known.name] = value
    return Task(**values)  # type: ignore[arg-type]


def prompt_hash(prompt: str) -> str:
    """SHA-256 of the normalised text: case, width and spacing of a prompt do not matter."""
    normal = " ".join(unicodedata.normalize("NFKC", prompt).casefold().split())
    return hashlib.sha256(normal.encode()).hexdigest()
