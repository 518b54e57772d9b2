"""Signals that are no statistic of ours are evidence too, each in a column of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.decision.features import FEATURE_DIM, MAX_COMPONENTS, STATISTIC_NAMES
from adaptive_sd.offline.evidence import read_evidence
from adaptive_sd.offline.signals import signal_columns
from adaptive_sd.stage_record import StageRecord


def table_with(columns: dict[str, np.ndarray]) -> OutcomeTable:
    return OutcomeTable(
        stages=(StageRecord("a"), StageRecord("b")),
        prompt_ids=("p", "q", "r"),
        quality=np.ones((3, 2)),
        cost=np.ones((3, 2)),
        columns=columns,
        num_left_out=0,
    )


@given(st.sets(st.text(min_size=1, max_size=8), max_size=60))
def test_each_has_a_column_that_nothing_else_uses(names: set[str]) -> None:
    table = table_with({f"signal_{name}": np.zeros((3, 2)) for name in names})
    columns = list(signal_columns(table).values())
    assert len(columns) == len(names - {*STATISTIC_NAMES, "tokens_out"}) == len(set(columns))
    assert all(len(STATISTIC_NAMES) + MAX_COMPONENTS <= c < FEATURE_DIM for c in columns)


def test_their_values_are_evidence_and_what_is_missing_is_0() -> None:
    margin = np.array([[0.5, np.nan], [np.inf, 2.0], [-1.0, 3.0]])
    table = table_with({"signal_judge": margin, "signal_entropy_mean": margin})
    (name, column), *others = signal_columns(table).items()
    assert name == "signal_judge" and not others
    seen = read_evidence(table, (None, None)).features[:, :, column]
    np.testing.assert_array_equal(seen, [[0.5, 0.0], [0.0, 2.0], [-1.0, 3.0]])
    with_another = table_with(table.columns | {"signal_other": margin})
    assert signal_columns(with_another)["signal_judge"] == column


def test_a_signal_is_a_statistic_where_it_has_a_value_and_nowhere_else() -> None:
    """What is empty is made of the log-probabilities, as live."""
    logprobs = np.empty((3, 2), dtype=object)
    logprobs[:] = [[[-0.5], [-1.0]], [[-2.0], [-3.0]], [None, None]]
    logprobs = np.vectorize(lambda v: v if v is None else np.array(v), otypes=[object])(logprobs)
    given = np.array([[7.0, np.nan], [np.nan, 9.0], [np.nan, 8.0]])
    table = table_with({"logprobs": logprobs, "signal_logprob_mean": given})
    place = STATISTIC_NAMES.index("logprob_mean")
    seen = read_evidence(table, (None, None)).features[:, :, place]
    np.testing.assert_array_equal(seen, [[7.0, -1.0], [-2.0, 9.0], [0.0, 8.0]])


def test_a_ladder_that_can_run_knows_only_what_it_will_be_told_live() -> None:
    table = table_with({"signal_judge": np.ones((3, 2))})
    known = replace(table, stages=tuple(replace(s, model="m") for s in table.stages))
    assert signal_columns(known) == {}
