"""The margin rule: batch shapes change logits a little, so a near-tie may fall the other way."""

from __future__ import annotations

from adaptive_sd.types import Acceptance, Draft

EAGER = Acceptance(bias=9.0, match=0.0, start=0.0)
"""Verifies whatever runs along the draft."""


def first_divergence(a: Draft, b: Draft) -> int | None:
    """Index of the first token that differs; None when one is a prefix of the other."""
    pairs = zip(a.token_ids, b.token_ids, strict=False)
    return next((i for i, (x, y) in enumerate(pairs) if x != y), None)


def assert_same_up_to_margin(a: Draft, b: Draft, noise_p99: float) -> None:
    """Fails where the answers part although the top-1/top-2 margin is above twice the noise."""
    at = first_divergence(a, b)
    if at is None:
        at = min(a.tokens_out, b.tokens_out)
        if a.tokens_out == b.tokens_out:
            assert a.text == b.text
            return
        longer = a if a.tokens_out > b.tokens_out else b
        assert longer.token_margins[at] <= 2 * noise_p99, (a.text, b.text)
        return
    margin = min(a.token_margins[at], b.token_margins[at])
    assert margin <= 2 * noise_p99, (at, margin, a.text, b.text)
