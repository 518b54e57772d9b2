"""The weights of acceptance are found again in agreements drawn from them."""

from __future__ import annotations

import numpy as np
import pytest

from adaptive_sd.decision.acceptance import Agreements, fit_acceptance
from adaptive_sd.types import Acceptance

TRUE = Acceptance(-1.0, 0.8, 0.5, 0.3, 0.7, -0.4)


def draw(num_rows: int, seed: int = 0) -> Agreements:
    rng = np.random.default_rng(seed)
    num_matching = rng.integers(0, 12, size=num_rows)
    surety = rng.uniform(0, 2.3, size=num_rows)
    odds = [TRUE.log_odds(int(m), float(u)) for m, u in zip(num_matching, surety, strict=True)]
    return Agreements(
        num_matching, surety, rng.random(num_rows) < 1 / (1 + np.exp(-np.array(odds)))
    )


def test_weights_are_found_again() -> None:
    found = fit_acceptance(draw(60_000), Acceptance(), 1.0)
    np.testing.assert_allclose(found, TRUE, atol=0.12)


def test_few_rows_leave_the_prior() -> None:
    prior = Acceptance(0.3, 0.2, 0.1, 0.0, 0.1, 0.2)
    np.testing.assert_allclose(fit_acceptance(draw(3), prior, 30.0), prior, atol=0.15)


@pytest.mark.parametrize("agreed", [False, True])
def test_rows_of_one_kind_stay_finite(agreed: bool) -> None:
    rows = draw(5000)._replace(agreed=np.full(5000, agreed))
    found = fit_acceptance(rows, Acceptance(), 1.0)
    assert np.isfinite(found).all()
    assert (found.log_odds(4, 1.0) > 2) is agreed
