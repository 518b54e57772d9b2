"""The embedded engine, on a tiny random model made here and on the smallest real one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from adaptive_sd.engines.base import Engine
from adaptive_sd.engines.llama_cpp import LlamaCppEngine
from adaptive_sd.models.catalogue import find
from adaptive_sd.models.store import file_of
from tests.conformance.subject import Subject
from tests.engines.margin import SMOLLM2_NOISE, TINY_NOISE
from tests.engines.tiny_gguf import write_tiny_model

SMALL = "smollm2-135m"
REAL_PROMPTS = (
    "Write the numbers from 1 to 20, separated by commas, and nothing else.",
    "Why is the sky blue?",
    "Repeat this line three times: naïve café — 漢字 🙂",
)


@contextmanager
def open_tiny() -> Iterator[Engine]:
    with tempfile.TemporaryDirectory() as folder:
        path = write_tiny_model(Path(folder) / "tiny.gguf")
        engine = LlamaCppEngine(
            path, name="tiny", model_hash="0" * 64, context=512, threads=1, slots=2
        )
        yield engine
        engine.close()


@contextmanager
def open_small() -> Iterator[Engine]:
    path = file_of(find(SMALL))
    engine = LlamaCppEngine(path, name=SMALL, model_hash="0" * 64, context=1024, threads=1, slots=2)
    yield engine
    engine.close()


def small_absent() -> str:
    """Why the real model is not here, or ""."""
    is_cached = file_of(find(SMALL)).exists()
    return "" if is_cached else f"{SMALL} is not cached: adaptive-sd models pull {SMALL}"


SUBJECTS = (
    Subject(
        engine="llama_cpp",
        model="tiny",
        open=open_tiny,
        prompts=("hello", "how are you today?", "ab" * 20),
        noise=TINY_NOISE,
        max_tokens=60,
    ),
    Subject(
        engine="llama_cpp",
        model=SMALL,
        open=open_small,
        prompts=REAL_PROMPTS,
        noise=SMOLLM2_NOISE,
        num_drawn=2,
        num_examples=6,
        absent=small_absent(),
        marks=(pytest.mark.slow,),
    ),
)
