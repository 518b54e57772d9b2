"""What of the transformers engine needs no torch: options, cells, and what a pass sees of them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.engines.passes import Piece
from adaptive_sd.engines.transformers.cells import Cells, Plan
from adaptive_sd.engines.transformers.options import TransformersOptions, check_installed
from adaptive_sd.errors import ConfigError

NUM_SEQUENCES, NUM_CELLS = 4, 40
ids = st.integers(0, NUM_SEQUENCES - 1)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), ids, st.integers(1, 4)),
        st.tuples(st.just("copy"), ids, ids),
        st.tuples(st.just("remove"), ids, st.integers(0, 6)),
    ),
    max_size=60,
)


@given(steps)
def test_no_token_is_ever_put_where_another_sequence_still_reads(
    steps: list[tuple[str, int, int]],
) -> None:
    """Each cell holds what was written last; every sequence reads its own tokens, in order."""
    cells, content = Cells(NUM_CELLS, NUM_SEQUENCES), [0] * NUM_CELLS
    expected: list[list[int]] = [[] for _ in range(NUM_SEQUENCES)]
    written = 0
    for kind, id, number in steps:
        if kind == "append" and sum(map(len, expected)) + number <= NUM_CELLS:
            cells.append(id, number)
            for cell in cells.of(id)[-number:]:
                written += 1
                content[cell] = written
                expected[id].append(written)
        elif kind == "copy" and id != number:
            cells.remove(number, 0)
            cells.copy(id, number, len(expected[id]))
            expected[number] = list(expected[id])
        elif kind == "remove":
            cells.remove(id, number)
            del expected[id][number:]
        for other in range(NUM_SEQUENCES):
            assert [content[cell] for cell in cells.of(other)] == expected[other]


def test_cells_of_dropped_tokens_are_used_again() -> None:
    cells = Cells(10, 2)
    for _ in range(5):
        cells.append(0, 8)
        cells.copy(0, 1, 5)
        cells.remove(0, 0)
        cells.append(0, 5)
        cells.remove(0, 0)
        cells.remove(1, 0)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4)), min_size=1, max_size=4))
def test_a_token_sees_all_before_it_in_its_sequence_and_nothing_else(
    sizes: list[tuple[int, int]],
) -> None:
    cells = Cells(100, 5)
    cells.append(4, 3)  # a beginning that all share
    pieces = []
    for id, (before, _) in enumerate(sizes):
        cells.copy(4, id, 3)
        cells.append(id, before)
    for id, (_, count) in enumerate(sizes):
        cells.append(id, count)
        pieces.append(Piece(SimpleNamespace(id=id), [0] * count))  # type: ignore[arg-type]
    plan = Plan(cells, pieces)
    row = 0
    for id, (before, count) in enumerate(sizes):
        own = list(cells.of(id))
        for i in range(count):
            if plan.seen is None:  # causal by itself
                assert plan.read.tolist() == own
            else:
                assert set(plan.read[plan.seen[row]]) == set(own[: 3 + before + i + 1])
            assert plan.written[row] == own[3 + before + i]
            row += 1
    assert row == len(plan.written)
    assert plan.num_before == len(plan.read) - row
    assert len(np.unique(plan.read)) == len(plan.read)


@pytest.mark.parametrize(
    ("options", "here", "missing"),
    [
        (TransformersOptions(), set(), "torch and transformers and accelerate"),
        (TransformersOptions(), {"torch", "accelerate"}, "needs transformers:"),
        (
            TransformersOptions(load_in_4bit=True),
            {"torch", "transformers", "accelerate"},
            "needs bitsandbytes:",
        ),
    ],
)
def test_what_is_not_installed_is_one_line_that_names_the_extra(
    options: TransformersOptions, here: set[str], missing: str
) -> None:
    with pytest.raises(ConfigError, match=missing) as caught:
        check_installed(options, here.__contains__)
    assert 'pip install "adaptive-sd[transformers]"' in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    check_installed(options, lambda name: True)


def test_weights_that_answer_otherwise_have_another_name() -> None:
    options = [
        TransformersOptions(),
        TransformersOptions(dtype="bf16"),
        TransformersOptions(load_in_8bit=True),
        TransformersOptions(load_in_4bit=True),
        TransformersOptions(load_in_4bit=True, dtype="fp16"),
        TransformersOptions(load_in_4bit=True, bnb_4bit_use_double_quant=False),
        TransformersOptions(load_in_4bit=True, bnb_4bit_quant_type="fp4"),
    ]
    assert len({each.weights for each in options}) == len(options)
    assert TransformersOptions(device_map="cpu").weights == TransformersOptions().weights
