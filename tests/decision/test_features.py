"""Evidence is finite, named, free of length, and says what is missing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive_sd.decision.faults import FAULT_NAMES
from adaptive_sd.decision.features import (
    FEATURE_DIM,
    FEATURE_NAMES,
    PROMPT_FEATURE_NAMES,
    STATISTIC_NAMES,
    DraftView,
    HiddenProjection,
    PromptView,
    agree,
    extract_features,
    fit_projection,
    prompt_features,
)
from adaptive_sd.forms import Form
from adaptive_sd.types import Draft

PROMPT = PromptView.of("How many are 12 and 30?\nA number.", Form.NUMBER)

prompts = st.builds(PromptView.of, st.text(max_size=60), st.sampled_from(Form))
views = st.builds(
    DraftView,
    answer=st.text(max_size=20),
    tokens_out=st.integers(0, 10**6),
    tokens_in=st.integers(0, 10**6),
    finished_by_length=st.booleans(),
    token_ids=st.lists(st.integers(0, 5), max_size=30),
    token_logprobs=st.lists(st.floats(-1e4, 0), max_size=30),
    token_entropies=st.lists(st.floats(0, 20), max_size=30),
    token_margins=st.lists(st.floats(0, 1e4), max_size=30),
    faults=st.tuples(*[st.floats(0, 1, width=32)] * len(FAULT_NAMES)),
)


def named(view: DraftView, prompt: PromptView = PROMPT) -> dict[str, float]:
    return dict(zip(FEATURE_NAMES, extract_features(view, prompt).tolist(), strict=True))


@settings(max_examples=100, deadline=None)
@given(views, prompts)
def test_evidence_is_256_finite_numbers_led_by_the_prompts(
    view: DraftView, prompt: PromptView
) -> None:
    features = extract_features(view, prompt)
    assert features.shape == (FEATURE_DIM,) and features.dtype == np.float32
    assert np.isfinite(features).all()
    np.testing.assert_array_equal(features[: len(PROMPT_FEATURE_NAMES)], prompt_features(prompt))
    assert not features[len(STATISTIC_NAMES) :].any()


def test_names_are_distinct_one_for_each_number_and_the_prompts_come_first() -> None:
    assert len(FEATURE_NAMES) == FEATURE_DIM == len(set(FEATURE_NAMES))
    assert FEATURE_NAMES[: len(PROMPT_FEATURE_NAMES)] == PROMPT_FEATURE_NAMES


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-50, 0), min_size=1, max_size=40), st.integers(2, 5))
def test_a_draft_said_over_again_is_as_sure_as_before(logprobs: list[float], times: int) -> None:
    """A sum would grow with the length; means, extremes and shares do not."""
    view = DraftView(token_logprobs=logprobs, token_margins=[-x for x in logprobs])
    longer = replace(
        view, token_logprobs=logprobs * times, token_margins=[-x for x in logprobs] * times
    )
    first, again = named(view), named(longer)
    for name in ("logprob_mean", "logprob_min", "logprob_first", "logprob_last", "margin_mean"):
        assert again[name] == pytest.approx(first[name], rel=1e-5, abs=1e-6), name
    assert again["logprob_share_below_1"] == pytest.approx(first["logprob_share_below_1"])
    assert again["logprob_mean"] == pytest.approx(np.mean(logprobs), rel=1e-5, abs=1e-6)
    least, most = min(logprobs) - 1e-4, max(logprobs) + 1e-4
    assert all(least <= again[n] <= most for n in again if n.startswith("logprob_q"))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-50, 0), min_size=1, max_size=40))
def test_quantiles_are_numpys(logprobs: list[float]) -> None:
    found = named(DraftView(token_logprobs=logprobs, token_margins=[-x for x in logprobs]))
    for percent in (5, 10, 25, 50):
        wanted = np.quantile(logprobs, percent / 100)
        assert found[f"logprob_q{percent:02d}"] == pytest.approx(wanted, rel=1e-5, abs=1e-6)
    wanted = np.quantile([-x for x in logprobs], 0.1)
    assert found["margin_q10"] == pytest.approx(wanted, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(
    ("field", "value", "indicator", "prefix"),
    [
        ("token_logprobs", [-0.5, -2.0], "no_logprobs", "logprob_"),
        ("token_entropies", [0.5, 2.0], "no_entropies", "entropy_"),
        ("token_margins", [0.5, 2.0], "no_margins", "margin_"),
    ],
)
def test_missing_evidence_is_0_and_marked(
    field: str, value: list[float], indicator: str, prefix: str
) -> None:
    missing, there = named(DraftView()), named(replace(DraftView(), **{field: value}))
    assert missing[indicator] == 1 and there[indicator] == 0
    statistics = [name for name in FEATURE_NAMES if name.startswith(prefix)]
    assert statistics and not any(missing[name] for name in statistics)
    assert all(there[name] for name in statistics)
    changed = {name for name in FEATURE_NAMES if missing[name] != there[name]}
    assert changed == {indicator, *statistics}


def test_no_answer_and_no_hidden_state_are_marked() -> None:
    hidden = np.ones(3, np.float16)
    assert named(DraftView())["no_answer"] == 1 and named(DraftView())["no_hidden"] == 1
    there = named(DraftView(answer="42", hidden=hidden))
    assert there["no_answer"] == 0 and there["no_hidden"] == 0
    assert there["log_answer_characters"] == pytest.approx(np.log(3))


@pytest.mark.parametrize(
    ("token_ids", "share"),
    [([], 0), ([1, 2, 3], 0), ([1, 2, 3, 4, 5], 0), ([7] * 8, 0.8), ([1, 2, 3, 4] * 2, 0.2)],
)
def test_repetition_is_the_share_of_4grams_seen_before(token_ids: list[int], share: float) -> None:
    assert named(DraftView(token_ids=token_ids))["repeated_4grams"] == pytest.approx(share)


def test_a_view_of_a_draft_keeps_its_evidence() -> None:
    draft = Draft("x", (5, 6), (-0.1, -0.2), (0.3, 0.4), (1.0, 2.0), "length", 9, 0.1, 0.2)
    view = DraftView.of(draft, PromptView.of("Say x.", Form.OPEN))
    assert (view.answer, view.tokens_out, view.tokens_in) == ("x", 2, 9)
    assert view.finished_by_length and view.hidden is None
    same = DraftView("x", 2, 9, True, [5, 6], [-0.1, -0.2], [0.3, 0.4], [1.0, 2.0])
    np.testing.assert_array_equal(extract_features(view, PROMPT), extract_features(same, PROMPT))


def test_a_view_of_a_draft_has_the_faults_of_its_answer() -> None:
    draft = Draft("2 + 3 = 6, so the answer is -6.5.", (5,), (-0.1,), (), (), "stop", 9, 0.1, 0.2)
    found = named(DraftView.of(draft, PROMPT))
    assert {name: found[name] for name in FAULT_NAMES if found[name]} == {
        "wrong_sum": 1,
        "not_whole": 1,
        "negative": 1,
    }


def test_a_prompts_evidence_is_its_form_and_its_shape() -> None:
    found = dict(zip(PROMPT_FEATURE_NAMES, prompt_features(PROMPT).tolist(), strict=True))
    forms = {name for name in found if name.startswith("form_") and found[name]}
    assert forms == {"form_number"}
    text = "How many are 12 and 30?\nA number."
    assert found["prompt_log_characters"] == pytest.approx(np.log1p(len(text)))
    assert found["prompt_log_lines"] == pytest.approx(np.log1p(2))
    assert found["prompt_digit_share"] == pytest.approx(4 / len(text))
    assert not prompt_features(PromptView(Form.OPEN))[6:].any()


def states(num_rows: int = 60, width: int = 12, rank: int = 12) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(num_rows, rank)) @ rng.normal(size=(rank, width))).astype(np.float16)


def test_components_are_those_of_the_svd_whatever_signs_it_gives() -> None:
    hidden = states()
    projection = fit_projection(hidden, num_components=4)
    exact = hidden.astype(np.float64)
    _, scale, vectors = np.linalg.svd(exact - exact.mean(axis=0), full_matrices=False)
    for k, component in enumerate(projection.components.T):
        vector = vectors[k] * np.sign(vectors[k][np.abs(vectors[k]).argmax()])
        wanted = vector * np.sqrt(len(hidden)) / scale[k]
        np.testing.assert_allclose(component, wanted, rtol=1e-3, atol=1e-5)


def test_states_of_one_number_have_one_component() -> None:
    hidden = np.array([[1.0], [2.0], [3.0]], dtype=np.float16)
    projected = fit_projection(hidden).apply(hidden)
    np.testing.assert_allclose(projected.ravel(), [-np.sqrt(1.5), 0, np.sqrt(1.5)], atol=1e-3)


def test_mirrored_states_have_mirrored_projections() -> None:
    """A component whose sign followed the solver's could not promise that."""
    hidden = states()
    plain, mirrored = fit_projection(hidden), fit_projection(-hidden)
    shuffled = fit_projection(np.random.default_rng(1).permutation(hidden))
    np.testing.assert_allclose(mirrored.apply(-hidden), -plain.apply(hidden), atol=1e-4)
    np.testing.assert_allclose(shuffled.apply(hidden), plain.apply(hidden), atol=1e-3)


@pytest.mark.parametrize(
    ("num_rows", "rank", "kept"), [(60, 12, 12), (60, 3, 3), (5, 12, 4), (1, 12, 0)]
)
def test_as_many_components_as_the_states_have_directions(
    num_rows: int, rank: int, kept: int
) -> None:
    rng = np.random.default_rng(0)
    coordinates = rng.integers(-8, 8, size=(num_rows, rank))
    hidden = np.zeros((num_rows, 12), np.float16)
    hidden[:, :rank] = coordinates
    projected = fit_projection(hidden).apply(hidden)
    assert projected.shape == (num_rows, kept)
    np.testing.assert_allclose(projected.std(axis=0), 1, atol=1e-3)
    np.testing.assert_allclose(projected.mean(axis=0), 0, atol=1e-3)


def test_projected_states_follow_the_statistics_and_arrays_round_trip() -> None:
    hidden = states()
    projection = fit_projection(hidden, num_components=5)
    again = HiddenProjection.from_arrays(projection.to_arrays())
    view = DraftView(hidden=hidden[3])
    features = extract_features(view, PROMPT, again)
    start = len(STATISTIC_NAMES)
    np.testing.assert_allclose(features[start : start + 5], projection.apply(hidden)[3], atol=1e-5)
    assert features[start : start + 5].all() and not features[start + 5 :].any()
    assert not extract_features(view, PROMPT)[start:].any()


def test_no_answer_agrees_with_none() -> None:
    assert agree("a", "a") is True
    assert agree("a", "b") is False
    assert agree("", "") is False
