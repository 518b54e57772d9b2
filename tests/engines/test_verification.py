"""The arithmetic of when a span of the draft pays."""

from __future__ import annotations

import numpy as np
import pytest

from adaptive_sd.engines.verification import DraftVerifier, best_span, expected_accepted
from adaptive_sd.types import Acceptance, Rates

CPU = Rates(0.005, 0.027, ((4, 0.084), (16, 0.18), (32, 0.32), (64, 0.61)))
GPU = Rates(0.0001, 0.02, ((16, 0.021), (64, 0.024)))


def test_expected_accepted_is_the_mean_over_the_beta_draw() -> None:
    rng = np.random.default_rng(0)
    chance = rng.beta(3.0, 2.0, size=200_000)
    accepted = (rng.random((15, 200_000)) < chance).cumprod(axis=0).sum(axis=0)
    assert expected_accepted(15, Acceptance(3.0, 2.0)) == pytest.approx(accepted.mean(), abs=0.02)


def test_a_span_pays_where_it_gives_more_text_a_second() -> None:
    assert best_span(200, CPU, Acceptance(1, 1)) == 0
    assert best_span(200, CPU, Acceptance(30, 1)) > 0
    assert best_span(200, GPU, Acceptance(1, 1)) > 0
    assert best_span(200, CPU, Acceptance(1e6, 1)) == 63
    assert best_span(0, GPU, Acceptance(1e6, 1)) == 0


def test_agreement_of_plainly_decoded_tokens_earns_a_span() -> None:
    verifier = DraftVerifier(list(range(100)), CPU, Acceptance(1, 1))
    num_plain = 0
    while not verifier.propose(99):
        verifier.observe((), 0, num_plain)
        num_plain += 1
    assert 1 < num_plain < 30
    assert list(verifier.propose(99)[:2]) == [num_plain, num_plain + 1]


def test_after_a_mismatch_the_rest_of_the_draft_is_out_of_play() -> None:
    verifier = DraftVerifier(list(range(100)), None, None)
    span = verifier.propose(99)
    verifier.observe(span, 2, 777)
    assert verifier.propose(99) == ()
    assert (verifier.num_drafted, verifier.num_accepted, verifier.num_spans) == (15, 2, 1)


def test_without_rates_every_span_is_tried_and_grows() -> None:
    verifier, at, sizes = DraftVerifier(list(range(200)), None, None), 0, []
    while span := verifier.propose(199):
        sizes.append(len(span))
        at += len(span)
        verifier.observe(span, len(span), at)
        at += 1
    assert sizes == [15, 31, 63, 63, 24]
