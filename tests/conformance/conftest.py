"""Every law for every subject that it binds; with --matrix, what they showed goes into a page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from adaptive_sd.engines.base import Engine
from tests.conformance.matrix import Results, update
from tests.conformance.subject import Subject
from tests.conformance.subjects import SUBJECTS

RESULTS = pytest.StashKey[Results]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--matrix", metavar="PAGE", help="write what the laws showed into this page")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "law(capability, ...): of subjects that can all of these")
    config.addinivalue_line("markers", "lacking(capability): of subjects that cannot")
    config.addinivalue_line("markers", "across(oracle): of others with the same weights")
    config.stash[RESULTS] = Results()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    binds = {mark.name: mark.args for mark in metafunc.definition.iter_markers()}
    if "law" in binds:
        bound = [s for s in SUBJECTS if s.can(*binds["law"])]
    elif "lacking" in binds:
        bound = [s for s in SUBJECTS if not s.can(*binds["lacking"])]
    elif "across" in binds:
        (oracle,) = binds["across"]
        bound = [s for s in SUBJECTS if s is not oracle and s.weights == oracle.weights]
    else:
        return
    here = [pytest.param(each, id=each.name, marks=each.marks) for each in bound if not each.absent]
    metafunc.parametrize("subject", here, indirect=True, scope="session")


@pytest.fixture(scope="session")
def subject(request: pytest.FixtureRequest) -> Subject:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def engine(subject: Subject) -> Iterator[Engine]:
    """One for all laws but those of closing."""
    with subject.open() as engine:
        yield engine


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:  # type: ignore[misc]
    report = yield
    subject = subject_of(item)
    if subject is not None and (report.when == "call" or not report.passed):
        marks = {mark.name: mark.args for mark in item.iter_markers()}
        capability = (marks.get("law") or marks["lacking"])[0]
        results = item.config.stash[RESULTS]
        results.outcomes[subject, capability].add(report.outcome)
        engine = item.funcargs.get("engine")  # type: ignore[attr-defined]
        if engine is not None and subject.engine:
            results.infos[subject] = engine.info
    return report


def pytest_deselected(items: list[pytest.Item]) -> None:
    for item in items:
        subject = subject_of(item)
        if subject is not None:
            item.config.stash[RESULTS].left_out.add(subject.engine)


def subject_of(item: pytest.Item) -> Subject | None:
    """None for tests that are no laws."""
    is_law = item.get_closest_marker("law") or item.get_closest_marker("lacking")
    subject = item.callspec.params["subject"] if is_law else None  # type: ignore[attr-defined]
    return subject if isinstance(subject, Subject) else None


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    page = session.config.getoption("--matrix", None)
    if page is not None:
        done = update(Path(page), session.config.stash[RESULTS])
        session.config.get_terminal_writer().line(f"\n{done}")
