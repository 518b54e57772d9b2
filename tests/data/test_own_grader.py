"""A user's own grader, from a file or an installed package, grades; its faults leave no grade."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from adaptive_sd.data import own_grader
from adaptive_sd.data.graders import Graders
from adaptive_sd.data.grading import Grade
from adaptive_sd.data.own_grader import load_grader
from adaptive_sd.data.tasks import Task, load_tasks
from adaptive_sd.errors import ConfigError, DataError

TASK = Task("1", "own", "", "Say yes.", "yes", "exact")


def graded(folder: Path, body: str) -> Grade:
    path = folder / "mine.py"
    path.write_text(f"def grade(task, text):\n    {body}\n")
    return Graders(own=load_grader(str(path))).grade(TASK, "yes indeed")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package that is installed, as far as importlib.metadata can see."""
    (tmp_path / "polite_graders.py").write_text(
        "def polite(task, text):\n    return float('please' in text)\n"
    )
    info = tmp_path / "polite_graders-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: polite-graders\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(
        "[adaptive_sd.graders]\npolite = polite_graders:polite\n"
        "number = polite_graders:polite\nbroken = polite_graders:nothing\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for cached in (own_grader._installed, own_grader.installed_grader):
        cached.cache_clear()
    yield
    for cached in (own_grader._installed, own_grader.installed_grader):
        cached.cache_clear()
    sys.modules.pop("polite_graders", None)


@pytest.mark.parametrize(
    ("body", "quality"),
    [
        ("return 0.25", 0.25),
        ("return task.answer in text", 1.0),
        ("return 0", 0.0),
        ("return None", None),
        ("pass", None),
        ("import numpy; return numpy.float32(0.5)", 0.5),
    ],
)
def test_what_the_file_says_counts(tmp_path: Path, body: str, quality: float | None) -> None:
    found = graded(tmp_path, body)
    assert found.quality == quality and found.version.startswith("own mine ")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("return 1.5", "1.5"),
        ("return -0.1", "-0.1"),
        ("return float('nan')", "nan"),
        ("return 'good'", "failed"),
        ("return 1 / 0", "ZeroDivisionError"),
        ("raise RuntimeError('\\ud800\\nx')", "RuntimeError"),
        ("import sys; sys.exit('done')", "SystemExit('done')"),
        ("exit(0)", "SystemExit"),
        ("return grade(task, text)", "RecursionError"),
    ],
)
def test_a_grader_that_fails_leaves_the_answer_for_another_time(
    tmp_path: Path, body: str, why: str
) -> None:
    found = graded(tmp_path, body)
    assert found.quality is None and found.version == "" and why in found.reason
    found.reason.encode()


def test_a_changed_file_is_another_version(tmp_path: Path) -> None:
    versions = [graded(tmp_path, f"return {value}").version for value in (0, 1, 0)]
    assert versions[0] == versions[2] != versions[1]


def test_a_file_that_is_no_grader_is_refused(tmp_path: Path) -> None:
    for source, why in (
        ("x = 1", "must define grade"),
        ("1 / 0", "ZeroDivision"),
        ("(", "Syntax"),
        ("exit(3)", "Exit"),
    ):
        path = tmp_path / "mine.py"
        path.write_text(source)
        with pytest.raises(ConfigError, match=rf"mine\.py: .*{why}"):
            load_grader(str(path))
    with pytest.raises(ConfigError, match=r"nowhere\.py: cannot be read"):
        load_grader(str(tmp_path / "nowhere.py"))


@pytest.mark.usefixtures("installed")
def test_an_installed_grader_is_found_by_name(tmp_path: Path) -> None:
    assert load_grader("polite").grade(TASK, "yes please") == Grade(
        1.0, "by a grader of the user's", "own polite polite-graders 1.2"
    )
    with pytest.raises(ConfigError, match=r"grader 'broken' of polite-graders 1\.2"):
        load_grader("broken")
    with pytest.raises(ConfigError, match=r"'polit'.*installed: broken, polite"):
        load_grader("polit")


@pytest.mark.usefixtures("installed")
def test_a_task_may_name_an_installed_grader_but_no_other(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    line = '{"id": "1", "dataset": "d", "category": "c", "prompt": "p", "answer": "4", "grader": '
    path.write_text(line + '"polite"}')
    (task,) = load_tasks(str(path))
    assert Graders().grade(task, "please").quality == 1.0
    path.write_text(line + '"rude"}')
    with pytest.raises(DataError, match=r"'rude'; known: choice, .*, none, broken, polite"):
        load_tasks(str(path))
    path.write_text(line + '"broken"}')
    with pytest.raises(ConfigError, match=r"'broken' of .* cannot be loaded"):
        load_tasks(str(path))
    path.write_text(line + '"number"}')  # the built-in one keeps its name
    (task,) = load_tasks(str(path))
    assert Graders().grade(task, "It is 4.").quality == 1.0


def test_own_grades_stay_until_a_grader_is_given(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def grade(task, text):\n    return 0.5\n")
    mine = load_grader(str(path))
    judged = Task("2", "own", "", "p", "a", "judge")
    for task in (TASK, judged):
        assert not Graders(judge=mine).is_outdated(task, "own other 1234")
        assert Graders(own=mine).is_outdated(task, "own other 1234")
        assert not Graders(own=mine).is_outdated(task, mine.version)
    assert Graders().is_outdated(TASK, "1")


@pytest.mark.usefixtures("installed")
def test_a_task_s_own_grader_grades_again_when_it_has_changed() -> None:
    task = Task("1", "own", "", "p", "a", "polite")
    assert Graders().is_outdated(task, "own polite polite-graders 1.1")
    assert not Graders().is_outdated(task, "own polite polite-graders 1.2")
    assert not Graders().is_outdated(task, "own mine 1234")


def test_a_grader_that_is_gone_takes_no_grade_away() -> None:
    task = Task("1", "own", "", "p", "a", "polite")
    assert not Graders().is_outdated(task, "own polite polite-graders 1.2")
    assert Graders().grade(task, "please").quality is None
