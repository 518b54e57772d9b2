"""The committed matrix says what is declared, and a run changes only what it showed."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from adaptive_sd.engines.base import EngineInfo
from tests.conformance.matrix import BEGIN, END, NOT_RUN, Results, read, replace_block, update
from tests.conformance.subject import Capability, Subject
from tests.conformance.subjects import SUBJECTS

PAGE = Path(__file__).parents[2] / "docs" / "engines.md"
HOW_TO_GET = re.compile("make test-|pip install|adaptive-sd models pull")
INFO = EngineInfo("e", "7", "m", "0", 1, 1, 1)


def test_the_page_has_the_engines_and_reasons_that_are_declared() -> None:
    text = PAGE.read_text()
    assert replace_block(text, read(text)) == text, "run pytest tests/conformance --matrix"


def test_the_page_says_what_is_declared() -> None:
    columns = read(PAGE.read_text())
    for subject in SUBJECTS:
        column = columns.get(subject.engine, {})
        if set(column.values()) > {NOT_RUN}:
            said = {c: column[c] for c in Capability}
            assert said == {c: "yes" if subject.can(c) else "no" for c in Capability}


def test_subjects_of_one_engine_lack_the_same() -> None:
    for subject in SUBJECTS:
        others = [s for s in SUBJECTS if s.engine == subject.engine]
        assert all(s.lacks == subject.lacks for s in others)
        assert len({s.name for s in SUBJECTS}) == len(SUBJECTS)


@pytest.mark.parametrize("subject", [s for s in SUBJECTS if s.absent], ids=lambda s: s.name)
def test_a_subject_that_is_absent_says_how_to_get_it(subject: Subject) -> None:
    assert HOW_TO_GET.search(subject.absent)
    pytest.skip(subject.absent)


def results_of(subject: Subject, outcome: str = "passed") -> Results:
    found = Results()
    found.infos[subject] = INFO
    for capability in Capability:
        found.outcomes[subject, capability].add(outcome)
    return found


def test_runs_add_up_and_a_failed_or_partial_one_changes_nothing(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\n{END}\nafter\n")
    shown = {s.engine: s for s in SUBJECTS if s.engine}
    first, second = list(shown.values())[:2]
    for subject in (first, second):
        update(page, results_of(subject))
    columns = read(page.read_text())
    for subject in (first, second):
        wanted = {c: "yes" if subject.can(c) else "no" for c in Capability}
        assert {c: columns[subject.engine][c] for c in Capability} == wanted
        assert columns[subject.engine]["version"] == (subject.version or "7")
    kept = page.read_text()
    assert kept.startswith("before\n") and kept.endswith("\nafter\n")
    assert "failed" in update(page, results_of(first, "failed"))
    update(page, replace(results_of(first, "skipped"), left_out={first.engine}))
    assert page.read_text() == kept
