"""The fitted network equals its formula, however it is called, and survives storage."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive_sd.decision.calibration import Calibration
from adaptive_sd.decision.network import FittedPredictor
from adaptive_sd.errors import ArtifactError


def network(hidden: tuple[int, ...] = (4, 3), *, seed: int = 0, width: int = 5) -> FittedPredictor:
    rng = np.random.default_rng(seed)
    widths = (width, *hidden, 1)
    pairs = list(itertools.pairwise(widths))
    return FittedPredictor(
        rng.normal(size=width).astype(np.float32),
        rng.random(width).astype(np.float32),
        tuple(rng.normal(size=pair).astype(np.float32) for pair in pairs),
        tuple(rng.normal(size=out).astype(np.float32) for _, out in pairs),
        Calibration(0.7, -0.2),
    )


def plain_score(predictor: FittedPredictor, row: np.ndarray) -> float:
    """The formula, one number after the other."""
    layer = [
        min(max((float(x) - float(m)) * float(s), -6.0), 6.0)
        for x, m, s in zip(row, predictor.mean, predictor.scale, strict=True)
    ]
    for index, (weights, bias) in enumerate(zip(predictor.weights, predictor.biases, strict=True)):
        layer = [
            sum(x * float(w) for x, w in zip(layer, column, strict=True)) + float(b)
            for column, b in zip(weights.T, bias, strict=True)
        ]
        if index + 1 < len(predictor.weights):
            layer = [max(x, 0.0) for x in layer]
    return layer[0]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([(), (4,), (4, 3)]), st.floats(0.1, 1e6))
def test_scores_are_those_of_the_formula_at_any_size_of_input(
    seed: int, hidden: tuple[int, ...], size: float
) -> None:
    predictor = network(hidden, seed=seed)
    rows = np.random.default_rng(seed).normal(scale=size, size=(6, 5)).astype(np.float32)
    wanted = [plain_score(predictor, row) for row in rows]
    np.testing.assert_allclose(predictor.scores(rows), wanted, rtol=1e-4, atol=1e-4)
    chances = predictor.predict_many(rows)
    assert ((chances >= 0) & (chances <= 1)).all()
    np.testing.assert_allclose([predictor.predict(row) for row in rows], chances, atol=1e-6)


def test_a_feature_out_of_all_bounds_counts_as_six_deviations() -> None:
    predictor = network()
    at_edge = predictor.mean + 6 / predictor.scale
    np.testing.assert_allclose(
        predictor.predict(at_edge.astype(np.float32)),
        predictor.predict(np.full(5, 1e30, np.float32)),
        rtol=1e-5,
    )


@pytest.mark.parametrize("hidden", [(), (4,), (4, 3)])
def test_arrays_round_trip(hidden: tuple[int, ...]) -> None:
    predictor = network(hidden)
    again = FittedPredictor.from_arrays(predictor.to_arrays())
    rows = np.random.default_rng(1).normal(size=(20, 5)).astype(np.float32)
    np.testing.assert_array_equal(again.predict_many(rows), predictor.predict_many(rows))


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("weights1", np.zeros((7, 3))),
        ("weights2", np.zeros((3, 2))),
        ("bias0", np.zeros(5)),
        ("mean", np.zeros(6)),
        ("scale", np.zeros(6)),
        ("weights0", np.zeros((6, 4))),
    ],
)
def test_layers_that_do_not_fit_together_are_refused(name: str, array: np.ndarray) -> None:
    with pytest.raises(ArtifactError, match="predictor"):
        FittedPredictor.from_arrays(network().to_arrays() | {name: array})


@pytest.mark.parametrize("name", ["mean", "scale", "weights1", "bias2", "calibration_platt"])
def test_a_missing_array_is_missed(name: str) -> None:
    arrays = network().to_arrays()
    del arrays[name]
    with pytest.raises((KeyError, ArtifactError)):
        FittedPredictor.from_arrays(arrays)
    with pytest.raises(KeyError, match="weights0"):
        FittedPredictor.from_arrays({"mean": arrays.get("mean", np.zeros(5)), "scale": np.ones(5)})
