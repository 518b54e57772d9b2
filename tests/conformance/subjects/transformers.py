"""The engine of checkpoints, on a tiny random one made here and on the smallest real model."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from adaptive_sd.engines.base import Engine
from tests.conformance.subject import Subject
from tests.conformance.subjects.llama_cpp import REAL_PROMPTS, SMALL, small_absent
from tests.engines.margin import FLOAT32_NOISE
from tests.vllm.hf_folder import hf_folder

IN_32_BITS = f"{SMALL} in 32 bits"


def open_folder(folder: Path, name: str, context: int) -> Engine:
    from adaptive_sd.engines.transformers.engine import TransformersEngine
    from adaptive_sd.engines.transformers.options import TransformersOptions

    options = TransformersOptions(device_map="cpu", dtype="fp32")
    return TransformersEngine(
        folder, options, name=name, model_hash="0" * 64, context=context, threads=1, slots=2
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
    folder = hf_folder(SMALL)
    assert folder is not None
    engine = open_folder(folder, SMALL, 1024)
    yield engine
    engine.close()


is_here = find_spec("torch") is not None and find_spec("transformers") is not None
absent = "" if is_here else 'transformers is not installed: pip install ".[transformers]"'
ORACLE = Subject(
    engine="transformers",
    model=SMALL,
    open=open_small,
    weights=IN_32_BITS,
    prompts=REAL_PROMPTS,
    noise=FLOAT32_NOISE,
    num_examples=4,
    absent=absent or small_absent(),
    marks=(pytest.mark.slow, pytest.mark.filterwarnings("ignore")),
)
SUBJECTS = (
    Subject(
        engine="transformers",
        model="tiny",
        open=open_tiny,
        prompts=("hello", "how are you today?", "ab" * 20),
        noise=FLOAT32_NOISE,
        max_tokens=60,
        num_examples=10,
        absent=absent,
        marks=(pytest.mark.filterwarnings("ignore"),),  # PyTorch's own
    ),
    ORACLE,
)
