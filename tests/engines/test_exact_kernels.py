"""Whatever the cache holds and however tokens are read, the logits are those of one at a time.

With keys and values of 32 bits and without flash attention only the order of sums is left, and
a token that stands in the wrong place, or a branch that sees another's, cannot hide in the noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import llama_cpp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adaptive_sd.engines.llama_cpp.context import Context
from adaptive_sd.engines.llama_cpp.model import Model

EXACT = 1e-3
"""Measured largest difference of a logit: 8e-5 in 12,000 rows; as shipped .09."""

tokens = st.lists(st.integers(32, 126), min_size=1, max_size=60)


@pytest.fixture(scope="module")
def context(tiny_path: Path) -> Iterator[Context]:
    ordinary: Callable[[], llama_cpp.llama_context_params]
    ordinary = llama_cpp.llama_context_default_params

    def exact() -> llama_cpp.llama_context_params:
        params = ordinary()
        params.type_k = params.type_v = llama_cpp.GGML_TYPE_F32
        params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        return params

    model = Model(tiny_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(llama_cpp, "llama_context_default_params", exact)
        context = Context(model, size=256, num_threads=1, num_slots=2)
    yield context
    context.close()
    model.close()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tokens, tokens, st.lists(st.integers(1, 64), min_size=1), st.booleans(), tokens)
def test_logits_depend_on_nothing_but_the_tokens(
    context: Context,
    prompt: list[int],
    answer: list[int],
    sizes: list[int],
    is_kept: bool,
    rejected: list[int],
) -> None:
    """Of a slot that was emptied and read token by token, and of one that knows a beginning,
    reads in pieces, takes back what was rejected, and branches."""
    plain, other = context.slots
    plain.truncate(0)
    wanted = np.concatenate([plain.extend([token]) for token in [*prompt, *answer]])
    if is_kept:
        other.start([*prompt, 31])
    else:
        other.truncate(0)
    known, whole = len(other.tokens), [*prompt, *answer]
    assert is_kept is (known > 0) and other.tokens == whole[:known]
    while len(other.tokens) < len(whole):
        at, size = len(other.tokens), sizes[len(other.tokens) % len(sizes)]
        other.extend(rejected)
        other.truncate(at)
        found = other.extend(whole[at : at + size])
        np.testing.assert_allclose(found, wanted[at : at + len(found)], rtol=0, atol=EXACT)
    other.truncate(len(prompt))
    (branch,) = other.fork(1)
    np.testing.assert_allclose(branch.extend(answer), wanted[len(prompt) :], rtol=0, atol=EXACT)
    other.drop_branches()
