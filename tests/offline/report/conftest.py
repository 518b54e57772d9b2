"""Reports that several files of tests look at."""

from __future__ import annotations

import pytest

from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.offline.report.gather import Report, make_report
from tests.offline.report.tables import hostile_table, page_of


@pytest.fixture(scope="session")
def hostile() -> OutcomeTable:
    return hostile_table(120, 3)


@pytest.fixture(scope="session")
def report(hostile: OutcomeTable) -> Report:
    return make_report(hostile, num_resamples=20, num_calls=10)


@pytest.fixture(scope="session")
def page(report: Report) -> str:
    return page_of(report)
