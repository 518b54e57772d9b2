"""A user's own grader: a Python file, or an installed package's entry point."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import math
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, cast

from adaptive_sd.data.grading import GRADER_NAMES, Grade
from adaptive_sd.errors import ConfigError

if TYPE_CHECKING:
    from adaptive_sd.data.tasks import Task

GROUP = "adaptive_sd.graders"
"""Group of the entry points: the name of each is a grader that tasks may name."""

_FAILURES = (Exception, SystemExit)
"""Code of others may fail in any way, and may call sys.exit."""

GradeFunction = Callable[["Task", str], float | None]
"""The quality of an answer from 0 to 1, or None when it cannot be graded."""


_OWN = "own "


def is_of_another(version: str, name: str) -> bool:
    """Whether a user's own grader gave a grade of that version, and it is not that of the name."""
    return version.startswith(_OWN) and not version.startswith(f"{_OWN}{name} ")


class OwnGrader:
    """A grader of the user's; whatever it does wrong leaves the answer ungraded."""

    def __init__(self, version: str, function: GradeFunction) -> None:
        self.version = version
        self._function = function

    def grade(self, task: Task, text: str) -> Grade:
        try:
            quality = self._function(task, text)
            if quality is None:
                return Grade(None, "the grader gave no grade", self.version)
            value = float(quality)
        except _FAILURES as error:
            return Grade(None, f"the grader failed: {error!r:.200}", "")
        if math.isnan(value) or not 0 <= value <= 1:
            return Grade(None, f"the grader gave {value!r}, not a number from 0 to 1", "")
        return Grade(value, "by a grader of the user's", self.version)


def load_grader(name: str) -> OwnGrader:
    """The grader of a Python file, which is run, or of an entry point.

    The file defines `grade(task, text) -> float | None`. Its version holds a hash of the file, so
    that a changed grader grades again. Raises ConfigError.
    """
    path = Path(name)
    if path.suffix == ".py":
        return OwnGrader(*_of_file(path))
    if name in installed_names():
        return installed_grader(name)
    known = f"; installed: {', '.join(installed_names())}" if installed_names() else ""
    raise ConfigError(
        f"--grader {name!r}: neither a Python file nor an entry point of {GROUP}{known}."
    )


def installed_names() -> list[str]:
    """The names of installed graders; a built-in one keeps its name."""
    return sorted(_installed())


@functools.cache
def installed_grader(name: str) -> OwnGrader:
    """Raises ConfigError when it cannot be imported."""
    point = _installed()[name]
    distribution = point.dist
    release = f"{distribution.name} {distribution.version}" if distribution else point.value
    try:
        function = point.load()
    except _FAILURES as error:
        raise ConfigError(f"grader {name!r} of {release} cannot be loaded: {error!r}.") from error
    return OwnGrader(f"{_OWN}{name} {release}", _checked(function, f"grader {name!r}"))


@functools.cache
def _installed() -> dict[str, EntryPoint]:
    return {p.name: p for p in entry_points(group=GROUP) if p.name not in GRADER_NAMES}


def _of_file(path: Path) -> tuple[str, GradeFunction]:
    try:
        source = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error}).") from error
    spec = importlib.util.spec_from_file_location(f"own_grader_{path.stem}", path)
    assert spec is not None and spec.loader is not None  # a .py file has a loader
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except _FAILURES as error:
        raise ConfigError(f"{path}: it failed: {error!r}.") from error
    version = f"{_OWN}{path.stem} {hashlib.sha256(source).hexdigest()[:16]}"
    return version, _checked(getattr(module, "grade", None), str(path))


def _checked(function: object, where: str) -> GradeFunction:
    if not callable(function):
        raise ConfigError(f"{where}: it must define grade(task, text).")
    return cast(GradeFunction, function)
