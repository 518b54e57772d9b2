"""An earlier stage's draft in the tokens of the model that verifies it."""

from __future__ import annotations

import math
from typing import Protocol

from adaptive_sd.engines.alignment import DraftTokens, carry_logprobs, surety_of
from adaptive_sd.engines.text import token_ends
from adaptive_sd.types import Offer


class Model(Protocol):
    """What must be known of the verifying one."""

    @property
    def end_token(self) -> int: ...

    def tokenize(self, text: str, *, special: bool, bos: bool = False) -> list[int]: ...

    def piece(self, token: int) -> bytes: ...


def draft_tokens(model: Model, draft: Offer) -> DraftTokens:
    """With the end of turn where it has ended, and how sure its stage was of what they overlap."""
    tokens = model.tokenize(draft.text, special=False)
    ends = token_ends(map(model.piece, tokens))
    logprobs = carry_logprobs(draft.token_ends, draft.token_logprobs, ends)
    if draft.ended:
        tokens, logprobs = [*tokens, model.end_token], [*logprobs, math.nan]
    return DraftTokens(tuple(tokens), tuple(map(surety_of, logprobs)))
