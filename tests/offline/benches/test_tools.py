"""Other tools in a process of their own: what they answer, and what is said when they cannot."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from adaptive_sd.engines.llama_cpp import LlamaCppEngine
from adaptive_sd.errors import ConfigError, EngineError
from adaptive_sd.forms import Form
from adaptive_sd.offline.benches.methods import Asked, by_tool, divergence_margin, plain
from adaptive_sd.offline.benches.tools import Tool, ToolSettings
from adaptive_sd.stage import Stage
from adaptive_sd.types import Acceptance, Offer, Sampling
from tests.engines.margin import TINY_NOISE


def settings(tool: str, path: Path) -> ToolSettings:
    return ToolSettings(tool, path, path, context=512, threads=1)


def test_prompt_lookup_answers_what_the_target_answers(tiny_path: Path) -> None:
    def load() -> LlamaCppEngine:
        return LlamaCppEngine(tiny_path, name="tiny", model_hash="0" * 64, context=512)

    lookup = settings("llama-cpp-python", tiny_path)
    with Stage("tiny", load=load) as stage, Tool(lookup) as tool:
        assert tool.version.startswith("llama-cpp-python 0.")
        for prompt in ("abcabcabc", "one two one two", "abcabcabc"):
            asked = Asked(prompt, Form.OPEN, Sampling(max_tokens=40), Offer(""), Acceptance())
            own, other = plain(stage)(asked), by_tool(tool, stage)(asked)
            margin = divergence_margin(own, other)
            assert margin is None or margin <= 2 * TINY_NOISE
            assert margin is not None or own.text == other.text
            assert 0 <= other.num_accepted <= other.num_drafted
            assert other.seconds > 0
        with pytest.raises(EngineError, match="llama-cpp-python"):
            tool.answer([5] * 600, 10)


def test_prompt_lookup_goes_on_past_its_first_batch(tiny_path: Path) -> None:
    """Of 512 tokens: it needs room for the rows of more."""
    long = ToolSettings("llama-cpp-python", tiny_path, None, context=1024, threads=1)
    with Tool(long) as tool:
        assert 0 < len(tool.answer([70, 71, 72] * 200, 10).token_ids) <= 10


def test_a_tool_that_is_not_there_is_named_with_how_to_get_it(tiny_path: Path) -> None:
    speculation = settings("xllamacpp", tiny_path)
    with pytest.raises(ConfigError, match=r"No module named 'xllamacpp'.* pip install xlla"):
        Tool(speculation, sys.executable)
    with pytest.raises(ConfigError, match="no-such-python: cannot be started"):
        Tool(speculation, "no-such-python")


def test_a_tool_that_ends_is_an_error_of_the_engine(tiny_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.gguf"):
        Tool(settings("llama-cpp-python", tiny_path.with_name("absent.gguf")))
