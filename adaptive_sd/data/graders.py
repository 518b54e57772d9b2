"""Which grader grades which task: built-in ones, a judge, or a user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptive_sd.data import grading
from adaptive_sd.data.grading import GRADER_NAMES, Grade, Grader, version_of
from adaptive_sd.data.own_grader import installed_grader, installed_names, is_of_another

if TYPE_CHECKING:
    from adaptive_sd.data.tasks import Task


class BuiltInGrader:
    """A built-in grader by name."""

    def __init__(self, name: str) -> None:
        self.version = version_of(name)

    def grade(self, task: Task, text: str) -> Grade:
        return grading.grade(task, text)


class Graders:
    """`own` grades every task where it is given; else `judge` those that name it, and so on."""

    def __init__(self, *, judge: Grader | None = None, own: Grader | None = None) -> None:
        self._judge = judge
        self._own = own

    def grade(self, task: Task, text: str) -> Grade:
        """Never raises; what cannot be graded now has no version."""
        return (self._of(task) or BuiltInGrader(task.grader)).grade(task, text)

    def is_outdated(self, task: Task, version: str) -> bool:
        """Whether a grade of that version would be another, or one at all, if given now.

        Grades by a grader of the user's stay where it is not given again.
        """
        grader = self._of(task)
        if self._own is None and is_of_another(version, task.grader):
            return False
        return grader is not None and grader.version != version

    def lacks_judge(self, task: Task) -> bool:
        return task.grader == "judge" and self._of(task) is None

    def _of(self, task: Task) -> Grader | None:
        """The grader of a task; None where it is not here."""
        if self._own is not None:
            return self._own
        if task.grader == "judge":
            return self._judge
        if task.grader in installed_names():
            return installed_grader(task.grader)
        return BuiltInGrader(task.grader) if task.grader in GRADER_NAMES else None
