"""The features of many recorded drafts at once; as `extract_features`, draft by draft."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.decision.faults import FAULT_NAMES
from adaptive_sd.decision.features import (
    FEATURE_DIM,
    LOGPROB_NAMES,
    PROMPT_FEATURE_NAMES,
    QUANTILES,
    STATISTIC_NAMES,
    DraftView,
    HiddenProjection,
    PromptView,
    extract_features,
)
from adaptive_sd.forms import Form

FloatArray = NDArray[np.float64]

_PLACES = {name: place for place, name in enumerate(STATISTIC_NAMES)}
_LOGPROBS = [_PLACES[name] for name in LOGPROB_NAMES]
_FAULTS = [_PLACES[name] for name in FAULT_NAMES]
_NOTHING = extract_features(DraftView(), PromptView(Form.OPEN))


def prompt_rows(prompts: Sequence[PromptView]) -> NDArray[np.float32]:
    """As `prompt_features`, shape (num_prompts, num_prompt_features)."""
    counts = np.array(
        [(p.num_characters, p.num_lines, p.num_digits) for p in prompts], dtype=np.float64
    ).reshape(-1, 3)
    forms = np.array([p.form for p in prompts], dtype=object)
    return np.column_stack(
        [
            *(forms == form for form in Form),
            np.log1p(counts[:, 0]),
            np.log1p(counts[:, 1]),
            counts[:, 2] / np.maximum(counts[:, 0], 1),
        ]
    ).astype(np.float32)


class DraftRows(NamedTuple):
    """What outcome tables hold of drafts of one stage; see DraftView."""

    answer_lengths: NDArray[np.int64]  # (num_rows,), of canonical answers; 0 for none
    faults: NDArray[np.float32]  # (num_rows, len(FAULT_NAMES))
    tokens_out: FloatArray  # (num_rows,), whole numbers
    tokens_in: FloatArray
    token_logprobs: Sequence[NDArray[np.floating] | None] | None = None
    hidden: Sequence[NDArray[np.float16] | None] | None = None


def extract_rows(
    rows: DraftRows, prompts: NDArray[np.float32], projection: HiddenProjection | None = None
) -> NDArray[np.float32]:
    """Shape (num_rows, FEATURE_DIM); `prompts` (num_rows, num_prompt_features)."""
    features = np.empty((len(prompts), FEATURE_DIM), dtype=np.float32)
    features[:] = _NOTHING  # what a table lacks is as in an empty draft
    features[:, : len(PROMPT_FEATURE_NAMES)] = prompts
    features[:, _PLACES["log_tokens_out"]] = np.log1p(rows.tokens_out)
    features[:, _PLACES["log_tokens_in"]] = np.log1p(rows.tokens_in)
    features[:, _PLACES["no_answer"]] = rows.answer_lengths == 0
    features[:, _PLACES["log_answer_characters"]] = np.log1p(rows.answer_lengths)
    features[:, _FAULTS] = rows.faults
    if rows.token_logprobs is not None:
        _set_logprobs(features, rows.token_logprobs)
    if rows.hidden is not None:
        _set_hidden(features, rows.hidden, projection)
    return features


def _set_logprobs(
    features: NDArray[np.float32], token_logprobs: Sequence[NDArray[np.floating] | None]
) -> None:
    """Drafts of one length at a time, as one matrix."""
    lengths = np.array([0 if values is None else len(values) for values in token_logprobs])
    if not lengths.any():
        return
    order = np.argsort(lengths, kind="stable")
    distinct, starts = np.unique(lengths[order], return_index=True)
    for length, members in zip(distinct, np.split(order, starts[1:]), strict=True):
        if length:
            values = np.array([token_logprobs[n] for n in members], dtype=np.float64)
            features[members[:, None], _LOGPROBS] = logprob_statistics(values)


def logprob_statistics(values: FloatArray) -> FloatArray:
    """Named by LOGPROB_NAMES, a row each; `values` (num_rows, num_tokens at least 1)."""
    ascending = np.sort(values, axis=1)
    last = values.shape[1] - 1
    low = [int(q * last) for q in QUANTILES]
    between = [q * last - place for q, place in zip(QUANTILES, low, strict=True)]
    below, above = ascending[:, low], ascending[:, [min(place + 1, last) for place in low]]
    return np.column_stack(
        [
            np.zeros(len(values)),
            values.sum(axis=1) / values.shape[1],
            ascending[:, 0],
            below + between * (above - below),
            values[:, 0],
            values[:, -1],
            (values < -1.0).sum(axis=1) / values.shape[1],
        ]
    )


def _set_hidden(
    features: NDArray[np.float32],
    hidden: Sequence[NDArray[np.float16] | None],
    projection: HiddenProjection | None,
) -> None:
    known = np.array([n for n, state in enumerate(hidden) if state is not None], dtype=np.int64)
    features[known, _PLACES["no_hidden"]] = 0
    if projection is not None and len(known):
        projected = projection.apply(np.stack([hidden[n] for n in known]))
        start = len(STATISTIC_NAMES)
        features[known, start : start + projected.shape[1]] = projected
