"""The margin rule: batch shapes change logits a little, so a near-tie may fall the other way."""

from __future__ import annotations

from adaptive_sd.offline.benches.methods import divergence_margin
from adaptive_sd.types import Acceptance, Draft

EAGER = Acceptance(bias=9.0, match=0.0, start=0.0)
"""Verifies whatever runs along the draft."""

TINY_NOISE = 0.026
SMOLLM2_NOISE = 0.58


def assert_same_up_to_margin(a: Draft, b: Draft, noise_p99: float) -> None:
    """Fails where the answers part although the top-1/top-2 margin is above twice the noise."""
    margin = divergence_margin(a, b)
    if margin is None:
        assert a.text == b.text
    else:
        assert margin <= 2 * noise_p99, (margin, a.text, b.text)
