"""Many drafts at once have the features that each of them has alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive_sd.decision.faults import FAULT_NAMES, NO_FAULTS
from adaptive_sd.decision.feature_rows import DraftRows, extract_rows, prompt_rows
from adaptive_sd.decision.features import (
    FEATURE_DIM,
    DraftView,
    PromptView,
    extract_features,
    fit_projection,
    prompt_features,
)
from adaptive_sd.forms import Form

WIDTH = 6
PROJECTION = fit_projection(np.random.default_rng(0).normal(size=(40, WIDTH)).astype(np.float16), 4)

prompts = st.builds(
    PromptView,
    st.sampled_from(Form),
    st.integers(0, 5000),
    st.integers(0, 90),
    st.integers(0, 400),
)
drafts = st.builds(
    DraftView,
    answer=st.text(max_size=5),
    tokens_out=st.integers(0, 900),
    tokens_in=st.integers(0, 9000),
    faults=st.tuples(*[st.sampled_from([0.0, 0.5, 1.0])] * len(FAULT_NAMES)),
    token_logprobs=st.lists(st.floats(-30, 0), max_size=5).map(np.array),
    hidden=st.none()
    | st.lists(st.floats(-4, 4, width=16), min_size=WIDTH, max_size=WIDTH).map(
        lambda values: np.array(values, np.float16)
    ),
)


@pytest.mark.parametrize("projection", [None, PROJECTION])
@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(prompts, drafts), max_size=7))
def test_rows_are_as_drafts_alone(
    projection: object, pairs: list[tuple[PromptView, DraftView]]
) -> None:
    views = [view for _, view in pairs]
    rows = DraftRows(
        np.array([len(view.answer) for view in views], dtype=np.int64),
        np.array([view.faults for view in views]).reshape(-1, len(FAULT_NAMES)),
        np.array([view.tokens_out for view in views], dtype=float),
        np.array([view.tokens_in for view in views], dtype=float),
        [view.token_logprobs for view in views],  # type: ignore[misc]
        [view.hidden for view in views],
    )
    of_prompts = prompt_rows([prompt for prompt, _ in pairs])
    found = extract_rows(rows, of_prompts, projection)  # type: ignore[arg-type]
    assert found.shape == (len(pairs), FEATURE_DIM)
    for n, (prompt, view) in enumerate(pairs):
        np.testing.assert_array_equal(of_prompts[n], prompt_features(prompt))
        alone = extract_features(view, prompt, projection)  # type: ignore[arg-type]
        np.testing.assert_allclose(found[n], alone, rtol=1e-6, atol=1e-5)


def test_evidence_that_a_table_lacks_is_missing() -> None:
    rows = DraftRows(np.array([3]), np.array([NO_FAULTS]), np.array([7.0]), np.array([2.0]))
    prompt = PromptView(Form.SHORT, 20, 1, 2)
    alone = extract_features(DraftView("abc", 7, 2), prompt)
    np.testing.assert_array_equal(extract_rows(rows, prompt_rows([prompt]))[0], alone)
