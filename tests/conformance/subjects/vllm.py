"""A real vLLM on this CPU, in process and behind a server: `make test-vllm` installs it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec

from adaptive_sd.engines.base import Engine
from adaptive_sd.models.catalogue import find
from adaptive_sd.models.store import file_of
from tests.conformance.subject import Capability, Subject
from tests.conformance.subjects.llama_cpp import REAL_PROMPTS, SMALL
from tests.engines.margin import VLLM_NOISE

DRAWS: Mapping[Capability, str] = {
    Capability.HIDDEN: "vLLM does not give it",
    Capability.SEEDS: "its draws cannot be repeated from the middle of an answer",
}
SERVED = {
    Capability.PREFIXES: "no answer tells it; `adaptive-sd doctor --config` asks a server once",
    Capability.DRAFT_TOKENS: "nothing tells which of them the server would have chosen",
}


@contextmanager
def open_in_process() -> Iterator[Engine]:
    from adaptive_sd.engines.vllm.engine import VllmEngine
    from tests.vllm.hf_folder import hf_folder
    from tests.vllm.running import ON_CPU, options_of

    folder = hf_folder(SMALL)
    assert folder is not None
    os.environ.update(ON_CPU)
    engine = VllmEngine(options_of(folder))
    yield engine
    engine.close()


@contextmanager
def open_served() -> Iterator[Engine]:
    from adaptive_sd.engines.openai.engine import OpenAIEngine
    from adaptive_sd.engines.openai.options import EndpointOptions
    from tests.vllm.running import small_server

    server = small_server().wait()
    options = EndpointOptions(server.url, server.name, first_byte_s=300, whole_s=600)
    engine = OpenAIEngine(options)
    yield engine
    engine.close()


@cache
def absent() -> str:
    if find_spec("vllm") is None:
        return "vLLM is not installed: make test-vllm"
    is_cached = file_of(find(SMALL)).exists()
    return "" if is_cached else f"{SMALL} is not cached: adaptive-sd models pull {SMALL}"


SUBJECTS = tuple(
    Subject(
        engine=name,
        model=SMALL,
        open=opener,
        prompts=REAL_PROMPTS,
        lacks=DRAWS | lacks,
        noise=VLLM_NOISE,
        max_tokens=24,
        num_examples=4,
        num_ahead=8,
        absent=absent(),
        is_slow=True,
    )
    for name, opener, lacks in (
        ("vLLM", open_in_process, {}),
        ("openai: real vLLM", open_served, SERVED),
    )
)
