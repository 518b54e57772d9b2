"""What the first tokens of a draft tell: while it grows and from recordings alike."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.feature_rows import logprob_statistics
from adaptive_sd.decision.features import LOGPROB_NAMES

CHECKPOINTS = (16, 32, 64, 128)
"""Tokens after which a draft may be abandoned; one that ended before has no such checkpoint."""

WHOLE = len(CHECKPOINTS)
"""In the place of a checkpoint: the draft went to its end."""

_AS_OF_WHOLE = ("logprob_mean", "logprob_min", "logprob_q10", "logprob_share_below_1")
_COLUMNS = [LOGPROB_NAMES.index(name) for name in _AS_OF_WHOLE]
PARTIAL_STATISTICS = (*_AS_OF_WHOLE, "logprob_mean_of_last_16")


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
    last = values[:, -16:]
    return np.column_stack(
        [logprob_statistics(values)[:, _COLUMNS], last.sum(axis=1) / last.shape[1]]
    ).astype(np.float32)
