"""What the first tokens of a draft tell: while it grows and from recordings alike."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CHECKPOINTS = (16, 32, 64, 128)
"""Tokens after which a draft may be abandoned; one that ended before has no such checkpoint."""

WHOLE = len(CHECKPOINTS)
"""In the place of a checkpoint: the draft went to its end."""

PARTIAL_STATISTICS = (
    "logprob_mean",
    "logprob_min",
    "logprob_q10",
    "logprob_share_below_1",
    "logprob_mean_of_last_16",
)


class Drafted(NamedTuple):
    """The draft of a stage up to CHECKPOINTS[place], or whole."""

    stage: int
    place: int = WHOLE


def checkpoints_before(num_chosen: int) -> list[int]:
    """Those of a draft for which so many tokens were chosen, the one that ended it among them."""
    return [n for n in CHECKPOINTS if n < num_chosen]


def partial_statistics(logprobs: NDArray[np.floating]) -> NDArray[np.float32]:
    """Named by PARTIAL_STATISTICS, a row each; `logprobs` (num_rows, num_tokens at least 1)."""
    values = logprobs.astype(np.float64)
    num_tokens = values.shape[1]
    ascending = np.sort(values, axis=1)
    low, between = divmod(0.1 * (num_tokens - 1), 1)
    below, above = ascending[:, int(low)], ascending[:, min(int(low) + 1, num_tokens - 1)]
    return np.stack(
        [
            values.sum(axis=1) / num_tokens,
            ascending[:, 0],
            below + between * (above - below),
            (values < -1.0).sum(axis=1) / num_tokens,
            values[:, -16:].sum(axis=1) / min(num_tokens, 16),
        ],
        axis=1,
    ).astype(np.float32)
