"""What the first tokens tell: each statistic by its plain definition, many drafts at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from adaptive_sd.decision.partial import (
    CHECKPOINTS,
    PARTIAL_STATISTICS,
    checkpoints_before,
    partial_statistics,
)

LOGPROBS = st.tuples(st.integers(1, 5), st.integers(1, 150)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.floats(-30, 0))
)


@given(LOGPROBS)
def test_each_statistic_is_what_its_name_says(logprobs: np.ndarray) -> None:
    found = dict(zip(PARTIAL_STATISTICS, partial_statistics(logprobs).T, strict=True))
    wanted = {
        "logprob_mean": logprobs.mean(axis=1),
        "logprob_min": logprobs.min(axis=1),
        "logprob_q10": np.quantile(logprobs, 0.1, axis=1),
        "logprob_share_below_1": (logprobs < -1).mean(axis=1),
        "logprob_mean_of_last_16": logprobs[:, -16:].mean(axis=1),
    }
    assert list(found) == list(wanted)
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-6, atol=1e-6, err_msg=name)


@given(LOGPROBS)
def test_many_drafts_at_once_are_each_alone(logprobs: np.ndarray) -> None:
    together = partial_statistics(logprobs)
    for row, alone in zip(logprobs, together, strict=True):
        np.testing.assert_array_equal(partial_statistics(row[None])[0], alone)


@pytest.mark.parametrize("num_tokens", [15, 16, 17, 128, 129, 1000])
@pytest.mark.parametrize("ended", [False, True])
def test_a_checkpoint_is_one_that_a_growing_draft_is_seen_at(num_tokens: int, ended: bool) -> None:
    """Its end of turn comes after its last token; the token limit ends it with that."""
    limit_hit = 0 if ended else num_tokens
    seen = [n for n in range(1, num_tokens + 1) if n in CHECKPOINTS and n != limit_hit]
    assert checkpoints_before(num_tokens + ended) == seen
