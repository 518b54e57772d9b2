"""The margin rule: batch shapes change logits a little, so a near-tie may fall the other way."""

from __future__ import annotations

from adaptive_sd.offline.benches.methods import divergence_margin
from adaptive_sd.types import Acceptance, Draft

EAGER = Acceptance(bias=9.0, match=0.0, start=0.0)
"""Verifies whatever runs along the draft."""

TINY_NOISE = 0.026
"""Of the embedded engine on the tiny model: 12,000 tokens, read again in other pieces and after a
kept beginning. It comes from keys and values of 16 bits and from flash attention, whose sums depend
on the rows of a pass; largest .074. Without both it is .00001 (test_exact_kernels.py)."""

SMOLLM2_NOISE = 0.58
"""Of the embedded engine on smollm2-135m (experiments/kernel_noise.py); as above .32."""

FLOAT32_NOISE = 1e-3
"""Of vLLM and transformers in 32 bits on a CPU."""


def assert_same_up_to_margin(a: Draft, b: Draft, noise_p99: float) -> None:
    """Fails where the answers part although the top-1/top-2 margin is above twice the noise."""
    margin = divergence_margin(a, b)
    if margin is None:
        assert a.text == b.text
    else:
        assert margin <= 2 * noise_p99, (margin, a.text, b.text)
