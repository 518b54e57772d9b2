"""Choosing one token from one row of logits; pure, so every engine samples alike."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.engines.passes import MAX_BRANCHES
from adaptive_sd.errors import ConfigError
from adaptive_sd.types import Sampling

_NUM_LIKELY = 1024


class TokenChoice(NamedTuple):
    """A chosen token with its evidence under the untempered distribution (nats, logits)."""

    token: int
    logprob: float
    entropy: float
    margin: float


def check_sampling(sampling: Sampling) -> None:
    """Raises ConfigError for a value outside its range."""
    checks = (
        ("max_tokens", sampling.max_tokens, sampling.max_tokens >= 1, "at least 1"),
        ("temperature", sampling.temperature, 0 <= sampling.temperature <= 5, "in [0, 5]"),
        ("top_p", sampling.top_p, 0 < sampling.top_p <= 1, "in (0, 1]"),
        ("seed", sampling.seed, 0 <= sampling.seed < 2**63, "in [0, 2**63)"),
        ("stop", sampling.stop, all(sampling.stop), "without empty strings"),
        ("lenience", sampling.lenience, 0 <= sampling.lenience <= 20, "in [0, 20]"),
    )
    for name, value, good, wanted in checks:
        if not good:
            raise ConfigError(f"{name} is {value!r}; it must be {wanted}.")
    if sampling.lenience and sampling.temperature:
        raise ConfigError(
            f"lenience is {sampling.lenience!r} at temperature {sampling.temperature!r}; it is for "
            "greedy answers: leave one of them out."
        )


def check_votes(count: int) -> None:
    """Raises ConfigError for a number of answers that no engine decodes together."""
    if not 1 <= count <= MAX_BRANCHES:
        raise ConfigError(f"{count} answers at once; it must be 1 to {MAX_BRANCHES}.")


def choose_token(
    row: NDArray[np.float32], sampling: Sampling, position: int, drafted: int | None = None
) -> TokenChoice:
    """The token at `position` of an answer, from `row` of shape (num_vocab,).

    Greedy at temperature 0. Otherwise one uniform draw, from the seed and the position alone,
    inverts the cumulative distribution: a verified and a plainly generated answer see the same
    draw at the same position, so they are the same text. A greedy choice takes the `drafted`
    token where the sampling's lenience allows it (speculative cascades, arXiv 2405.19261).
    """
    best = int(row.argmax())
    shifted = row - row[best]
    exp = np.exp(shifted)
    total = float(exp.sum())
    log_total = float(np.log(total))
    if sampling.temperature > 0:
        token = _sample(shifted, sampling, position)
    elif drafted is not None and shifted[drafted] > -sampling.lenience:
        token = drafted
    else:
        token = best
    weighted = np.multiply(exp, shifted, out=exp, where=exp > 0)  # 0 * -inf is 0 here
    shifted_best, shifted[best] = shifted[best], -np.inf
    margin = -float(shifted.max())
    shifted[best] = shifted_best
    return TokenChoice(
        token=token,
        logprob=float(shifted[token]) - log_total,
        entropy=max(0.0, log_total - float(weighted.sum()) / total),
        margin=margin,
    )


def _sample(shifted: NDArray[np.float32], sampling: Sampling, position: int) -> int:
    prob = np.exp(shifted.astype(np.float64) / sampling.temperature)
    prob /= prob.sum()
    draw = np.random.default_rng([sampling.seed, position]).random()
    if sampling.top_p >= 1:
        tokens, mass = np.arange(prob.size), prob
    else:
        tokens = _nucleus(prob, sampling.top_p)
        mass = prob[tokens]
    cumulative = np.cumsum(mass)
    index = int(np.searchsorted(cumulative, draw * cumulative[-1], side="right"))
    return int(tokens[min(index, tokens.size - 1)])


def _nucleus(prob: NDArray[np.float64], top_p: float) -> NDArray[np.intp]:
    """The fewest most likely tokens that hold `top_p` of the mass, most likely first."""
    tokens = np.arange(prob.size)
    if prob.size > _NUM_LIKELY:  # a full sort of 150,000 takes 10 ms; seldom needed
        likely = np.argpartition(prob, -_NUM_LIKELY)[-_NUM_LIKELY:]
        if prob[likely].sum() >= top_p:
            tokens = np.sort(likely)
    tokens = tokens[np.argsort(-prob[tokens], kind="stable")]
    keep = int(np.searchsorted(np.cumsum(prob[tokens]), top_p)) + 1
    return tokens[:keep]
