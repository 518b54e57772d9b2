"""Drafts as values of a recording's rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from adaptive_sd.types import Draft, FinishReason


def write_draft(draft: Draft) -> tuple[object, ...]:
    """In the order in which `read_draft` takes them."""
    evidence = (draft.token_logprobs, draft.token_entropies, draft.token_margins)
    return (
        *(draft.text, blob(draft.token_ids, "<i4")),
        *(blob(values, "<f4") for values in evidence),
        None if draft.hidden is None else draft.hidden.astype("<f2").tobytes(),
        *(draft.finish_reason, draft.tokens_in, draft.num_cached),
        *(draft.prefill_s, draft.decode_s),
    )


def read_draft(
    text: str,
    token_ids: bytes,
    token_logprobs: bytes,
    token_entropies: bytes,
    token_margins: bytes,
    hidden: bytes | None,
    finish_reason: FinishReason,
    tokens_in: int,
    num_cached: int,
    prefill_s: float,
    decode_s: float,
) -> Draft:
    """Raises ValueError or TypeError for values of other kinds, which SQLite would hold too."""
    if not isinstance(text, str) or finish_reason not in get_args(FinishReason):
        raise ValueError(f"an answer ended by {finish_reason!r:.40}")
    return Draft(
        text=text,
        token_ids=tuple(array(token_ids, "<i4").tolist()),
        token_logprobs=tuple(array(token_logprobs, "<f4").tolist()),
        token_entropies=tuple(array(token_entropies, "<f4").tolist()),
        token_margins=tuple(array(token_margins, "<f4").tolist()),
        finish_reason=finish_reason,
        tokens_in=int(tokens_in),
        prefill_s=float(prefill_s),
        decode_s=float(decode_s),
        num_cached=int(num_cached),
        hidden=None if hidden is None else np.frombuffer(hidden, "<f2"),
    )


def blob(values: Sequence[float], dtype: str) -> bytes:
    return np.asarray(values, dtype=dtype).tobytes()


def array(blob: bytes, dtype: str) -> NDArray[np.generic]:
    return np.frombuffer(blob, dtype=dtype)
