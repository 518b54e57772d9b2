"""What a model's name tells of its size."""

from __future__ import annotations

import pytest

from adaptive_sd.models.sizes import size_in, size_of


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("meta-llama/Llama-3.1-70B-Instruct", 70e9),
        ("qwen2.5-coder-0.5b", 0.5e9),
        ("HuggingFaceTB/SmolLM2-135M", 135e6),
        ("Qwen/Qwen3-30B-A3B", 30e9),
        ("tiny-7b", 7e9),
        ("mixtral-8x7b", 0),
        ("gpt-4o-mini", 0),
        ("some-model-4bit", 0),
        ("", 0),
    ],
)
def test_the_largest_size_in_a_name_is_the_models(name: str, size: float) -> None:
    assert size_in(name) == size


@pytest.mark.parametrize(
    ("text", "size"),
    [("0.5b", 0.5e9), ("135m", 135e6), ("7B", 7e9), ("b", 0), ("7", 0), ("x7b", 0)],
)
def test_a_size_is_a_number_of_millions_or_billions(text: str, size: float) -> None:
    assert size_of(text) == size
