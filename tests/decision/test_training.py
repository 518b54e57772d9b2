"""Training: soft labels are weights, seeds decide, and what does not vary is left out."""

from __future__ import annotations

import numpy as np
import pytest

from adaptive_sd.decision.training import (
    Candidate,
    Labelled,
    schedule_of,
    soft_labels,
    train,
    untrained,
)

LOGISTIC = Candidate("logistic", 1.0)
NETWORK = Candidate("network", 1.0, (8, 4))


def labelled(num_rows: int = 200, width: int = 6, seed: int = 0) -> Labelled:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(num_rows, width))
    label = (features[:, 0] + 0.3 * rng.normal(size=num_rows) > 0).astype(np.int64)
    return Labelled(features, label, np.ones(num_rows))


def test_quality_q_counts_as_weights_q_and_1_minus_q() -> None:
    features = np.arange(8.0).reshape(4, 2)
    data = soft_labels(features, np.array([1.0, 0.0, 0.25, 0.5]))
    found = {
        (tuple(row), int(label)): weight
        for row, label, weight in zip(data.features.tolist(), data.label, data.weight, strict=True)
    }
    assert found == {
        ((0.0, 1.0), 1): 1.0,
        ((2.0, 3.0), 0): 1.0,
        ((4.0, 5.0), 1): 0.25,
        ((4.0, 5.0), 0): 0.75,
        ((6.0, 7.0), 1): 0.5,
        ((6.0, 7.0), 0): 0.5,
    }


def test_soft_labels_fit_as_the_rows_that_they_stand_for() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 3))
    quality = rng.integers(0, 5, size=60) / 4
    hard = (np.arange(4)[:, None] < 4 * quality).astype(float)
    soft = soft_labels(np.tile(features, (4, 1)), np.tile(quality, 4))
    rows = soft_labels(np.tile(features, (4, 1)), hard.ravel())
    scores = [train(data, LOGISTIC, 0).scores(features) for data in (soft, rows)]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-3)


@pytest.mark.parametrize("candidate", [LOGISTIC, NETWORK])
def test_training_is_the_same_for_a_seed_and_finds_the_feature_that_matters(
    candidate: Candidate,
) -> None:
    data, unseen = labelled(), labelled(seed=1)
    first, second = (train(data, candidate, 3).scores(unseen.features) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert ((first > 0) == unseen.label).mean() > 0.85


def test_ten_times_the_rows_take_no_more_steps_of_a_network() -> None:
    sizes = [1000, 10_000, 10_001, 30_000, 100_000, 300_000]
    schedules = [schedule_of(size) for size in sizes]
    steps = [s.num_passes * size / s.batch_rows for s, size in zip(schedules, sizes, strict=True)]
    assert min(steps) >= 400 and max(steps) <= 1250
    assert schedules[-1].num_passes <= 2


def test_a_row_s_share_of_the_penalty_does_not_jump_and_many_rows_outweigh_it() -> None:
    def share(size: int) -> float:
        schedule = schedule_of(size)
        return schedule.penalty / schedule.batch_rows

    assert share(1000) == share(10_000) == pytest.approx(share(10_001), rel=1e-3)
    assert share(100_000) == pytest.approx(share(10_000) / 10)


def test_another_seed_gives_another_network() -> None:
    data = labelled()
    assert (train(data, NETWORK, 0).weights[0] != train(data, NETWORK, 1).weights[0]).any()


@pytest.mark.parametrize("candidate", [LOGISTIC, NETWORK])
def test_columns_that_do_not_vary_or_are_not_asked_for_change_nothing(
    candidate: Candidate,
) -> None:
    data = labelled()
    features = data.features.copy()
    features[:, 2] = 1e4
    few = Candidate("few", candidate.alpha, candidate.hidden, 4)
    predictor = train(data._replace(features=features), few, 0)
    changed = features.copy()
    changed[:, 2] = -5.0
    changed[:, 4:] = 77.0
    np.testing.assert_array_equal(predictor.scores(changed), predictor.scores(features))
    changed[:, 0] += 1.0
    assert (predictor.scores(changed) != predictor.scores(features)).any()


@pytest.mark.parametrize("candidate", [LOGISTIC, NETWORK])
def test_units_of_the_features_do_not_matter(candidate: Candidate) -> None:
    data = labelled()
    units = 10.0 ** np.arange(-3, 3)
    scores = train(data, candidate, 0).scores(data.features)
    scaled = train(data._replace(features=data.features * units), candidate, 0)
    np.testing.assert_allclose(scaled.scores(data.features * units), scores, atol=1e-3)


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("candidate", [LOGISTIC, NETWORK])
def test_one_class_leaves_the_other_a_chance(candidate: Candidate, label: int) -> None:
    data = labelled()._replace(label=np.full(200, label))
    scores = train(data, candidate, 0).scores(data.features)
    assert np.isfinite(scores).all()
    assert ((scores > 0) == bool(label)).all()


def test_without_a_feature_that_varies_the_share_of_right_rows_is_left() -> None:
    data = Labelled(np.ones((30, 3)), np.repeat([1, 0], [24, 6]), np.ones(30))
    score = train(data, LOGISTIC, 0).scores(np.ones((1, 3)))[0]
    assert score == pytest.approx(np.log(24.5 / 6.5))


def test_an_untrained_network_is_the_same_for_a_seed_and_not_extreme() -> None:
    rows = np.random.default_rng(0).normal(size=(200, 256))
    first, same, other = (untrained(256, (128, 64), seed).scores(rows) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert (first != other).all()
    assert 0.1 < first.std() < 5
