"""Reports that several files of tests look at."""

from __future__ import annotations

import pytest

from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.offline.replay.field import Field
from adaptive_sd.offline.report.gather import Report, report_on
from tests.offline.report.tables import hostile_table, page_of


@pytest.fixture(scope="session")
def hostile() -> OutcomeTable:
    return hostile_table(120, 3)


@pytest.fixture(scope="session")
def field(hostile: OutcomeTable) -> Field:
    return Field(hostile, None, seed=0)


@pytest.fixture(scope="session")
def report(field: Field) -> Report:
    return report_on(field, lam=None, num_resamples=20, num_calls=10)


@pytest.fixture(scope="session")
def page(report: Report) -> str:
    return page_of(report)
