"""The engine of checkpoints, on a tiny random model made here and on the smallest real one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from adaptive_sd.engines.base import Engine
from adaptive_sd.engines.transformers.options import TransformersOptions
from adaptive_sd.models.catalogue import find
from adaptive_sd.models.store import file_of
from tests.conformance.subject import Subject
from tests.conformance.subjects.llama_cpp import REAL_PROMPTS, SMALL

TINY_NOISE, SMALL_NOISE = 2e-5, 2e-4
"""Weights in 32 bits."""


def open_folder(folder: Path, name: str, context: int) -> Engine:
    from adaptive_sd.engines.transformers.engine import TransformersEngine

    options = TransformersOptions(dtype="fp32", device_map="cpu")
    return TransformersEngine(
        folder, options, name=name, model_hash="0" * 64, context=context, slots=2
    )


@contextmanager
def open_tiny() -> Iterator[Engine]:
    from tests.engines.tiny_checkpoint import write_tiny_checkpoint

    with tempfile.TemporaryDirectory() as folder:
        engine = open_folder(write_tiny_checkpoint(Path(folder)), "tiny", 512)
        yield engine
        engine.close()


@contextmanager
def open_small() -> Iterator[Engine]:
    from tests.vllm.hf_folder import hf_folder

    folder = hf_folder(SMALL)
    assert folder is not None
    engine = open_folder(folder, SMALL, 1024)
    yield engine
    engine.close()


def absent() -> str:
    needed = ("torch", "transformers", "accelerate", "gguf")
    missing = [name for name in needed if find_spec(name) is None]
    return f'{" and ".join(missing)} not here: pip install ".[transformers]"' if missing else ""


def small_is_absent() -> str:
    is_cached = file_of(find(SMALL)).exists()
    return "" if is_cached else f"{SMALL} is not cached: adaptive-sd models pull {SMALL}"


SUBJECTS = (
    Subject(
        engine="transformers",
        model="tiny",
        open=open_tiny,
        prompts=("hello", "how are you today?", "ab" * 20),
        noise=TINY_NOISE,
        max_tokens=60,
        absent=absent(),
    ),
    Subject(
        engine="transformers",
        model=SMALL,
        open=open_small,
        prompts=REAL_PROMPTS,
        noise=SMALL_NOISE,
        num_examples=6,
        absent=absent() or small_is_absent(),
        is_slow=True,
    ),
)
