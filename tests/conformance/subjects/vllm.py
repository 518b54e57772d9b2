"""A real vLLM on this CPU, with the smallest real model: in process, and behind its server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec

import pytest

from adaptive_sd.engines.base import Engine
from adaptive_sd.engines.openai.engine import OpenAIEngine
from adaptive_sd.engines.openai.options import EndpointOptions
from tests.conformance.subject import Capability, Subject
from tests.conformance.subjects.llama_cpp import REAL_PROMPTS, SMALL, small_absent
from tests.conformance.subjects.openai import ANY_SERVER
from tests.conformance.subjects.transformers import IN_32_BITS
from tests.engines.margin import FLOAT32_NOISE
from tests.vllm.hf_folder import hf_folder
from tests.vllm.running import ON_CPU, small_server

IN_PROCESS = {
    Capability.HIDDEN: "vLLM does not give it",
    Capability.SEEDS: "its draws cannot be repeated beside a verified draft",
}


@contextmanager
def open_local() -> Iterator[Engine]:
    from adaptive_sd.engines.vllm.engine import VllmEngine
    from tests.vllm.running import options_of

    folder = hf_folder(SMALL)
    assert folder is not None
    os.environ.update(ON_CPU)
    engine = VllmEngine(folder, options_of(SMALL), model_hash="0" * 64)
    yield engine
    engine.close()


@contextmanager
def open_served() -> Iterator[Engine]:
    options = EndpointOptions(small_server().wait().url, SMALL, whole_s=600, first_byte_s=300)
    engine = OpenAIEngine(options)
    yield engine
    engine.close()


is_here = find_spec("vllm") is not None
absent = ("" if is_here else "vLLM is not installed: make test-vllm") or small_absent()
marks = (pytest.mark.slow, pytest.mark.filterwarnings("ignore"))  # vLLM's and PyTorch's own
LOCAL = Subject(
    engine="vllm",
    model=SMALL,
    open=open_local,
    weights=IN_32_BITS,
    prompts=REAL_PROMPTS,
    lacks=IN_PROCESS,
    noise=FLOAT32_NOISE,
    num_examples=4,
    num_ahead=8,
    absent=absent,
    marks=marks,
)
SERVED = replace(LOCAL, engine="openai: a vLLM server", open=open_served, lacks=ANY_SERVER)
SUBJECTS = (LOCAL, SERVED)
