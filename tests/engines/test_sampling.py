"""Laws of choosing one token."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.engines.sampling import check_sampling, choose_token
from adaptive_sd.errors import ConfigError
from adaptive_sd.types import Sampling

rows = st.lists(st.floats(-20, 20, width=32), min_size=2, max_size=40).map(
    lambda values: np.array(values, np.float32)
)


@given(rows)
def test_evidence_is_that_of_the_softmax(row: np.ndarray) -> None:
    choice = choose_token(row, Sampling(), 0)
    prob = np.exp(row.astype(np.float64) - row.max())
    prob /= prob.sum()
    second, first = np.sort(row)[-2:]
    assert choice.token == int(row.argmax())
    assert choice.logprob == pytest.approx(np.log(prob[choice.token]), abs=1e-4)
    assert choice.entropy == pytest.approx(-(prob * np.log(prob)).sum(), abs=1e-3)
    assert choice.margin == pytest.approx(float(first - second), abs=1e-5)


def test_minus_infinity_is_a_token_that_cannot_be() -> None:
    choice = choose_token(np.array([0.0, -np.inf, 0.0], np.float32), Sampling(), 0)
    assert choice.entropy == pytest.approx(np.log(2), abs=1e-6)


def test_sampled_frequencies_are_the_tempered_softmax() -> None:
    row = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
    sampling = Sampling(temperature=0.7, seed=3)
    counts = np.bincount([choose_token(row, sampling, i).token for i in range(20_000)], minlength=4)
    wanted = np.exp(row / 0.7)
    np.testing.assert_allclose(counts / 20_000, wanted / wanted.sum(), atol=0.012)


def test_top_p_keeps_the_fewest_tokens_that_hold_the_mass() -> None:
    row = np.log(np.array([0.05, 0.5, 0.15, 0.3], np.float32))
    sampling = Sampling(temperature=1.0, top_p=0.75, seed=1)
    seen = {choose_token(row, sampling, i).token for i in range(500)}
    assert seen == {1, 3}


@pytest.mark.parametrize("top_p", [0.3, 0.9, 0.999])
def test_top_p_of_a_large_vocabulary_equals_the_full_sort(top_p: float) -> None:
    row = np.random.default_rng(0).normal(size=5000).astype(np.float32)
    prob = np.exp(row.astype(np.float64))
    prob /= prob.sum()
    order = np.argsort(-prob)
    allowed = set(order[: np.searchsorted(np.cumsum(prob[order]), top_p) + 1].tolist())
    sampling = Sampling(temperature=1.0, top_p=top_p, seed=5)
    assert {choose_token(row, sampling, i).token for i in range(300)} <= allowed


def test_the_draw_depends_on_seed_and_position_only() -> None:
    row = np.zeros(1000, np.float32)
    same = Sampling(temperature=1.0, seed=9)
    assert choose_token(row, same, 4) == choose_token(row, same, 4)
    assert len({choose_token(row, same, i).token for i in range(20)}) > 10
    assert choose_token(row, same, 4) != choose_token(row, Sampling(temperature=1.0, seed=8), 4)


@pytest.mark.parametrize(
    "bad",
    [
        Sampling(max_tokens=0),
        Sampling(temperature=-0.1),
        Sampling(temperature=float("nan")),
        Sampling(top_p=0.0),
        Sampling(top_p=1.5),
        Sampling(seed=-1),
        Sampling(stop=("",)),
    ],
)
def test_values_out_of_range_are_named(bad: Sampling) -> None:
    with pytest.raises(ConfigError, match="it must be"):
        check_sampling(bad)


def test_lenience_is_refused_where_tokens_are_drawn() -> None:
    check_sampling(Sampling(lenience=2.0))
    with pytest.raises(ConfigError, match=r"lenience is 2.0 at temperature 0.5; .*leave one"):
        check_sampling(Sampling(lenience=2.0, temperature=0.5))
