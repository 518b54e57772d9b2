"""A real vLLM on this CPU: two servers, one in process, and its plain interface as the oracle.

All are started at the first use of any, side by side, and end with the session.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from adaptive_sd.engines.openai.engine import OpenAIEngine
from adaptive_sd.engines.openai.options import EndpointOptions
from tests.vllm.hf_folder import hf_folder
from tests.vllm.plain import Plain
from tests.vllm.running import (
    CONTEXT,
    LARGER,
    ON_CPU,
    SMALL,
    RunningServer,
    options_of,
    penalised,
    small_server,
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in here:
        item.add_marker(pytest.mark.filterwarnings("ignore"))  # vLLM's and PyTorch's own
        if find_spec("vllm") is None:
            item.add_marker(pytest.mark.skip(reason="vLLM is not installed: make test-vllm"))


@pytest.fixture(scope="session")
def folders() -> dict[str, Path]:
    found = {name: hf_folder(name) for name in (SMALL, LARGER)}
    for name, folder in found.items():
        if folder is None:
            pytest.skip(f"{name} is not cached: adaptive-sd models pull {name}")
    return {name: folder for name, folder in found.items() if folder is not None}


@pytest.fixture(scope="session")
def started(
    folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RunningServer, RunningServer, Plain]]:
    """Not waited for; the larger model comes with a penalty that its maker likes."""
    folder = tmp_path_factory.mktemp("vllm")
    larger = penalised(folders[LARGER], folder / LARGER)
    small = small_server()
    large = RunningServer(larger, LARGER, folder / "larger.log")
    plain = Plain(folders[SMALL], folder, context=CONTEXT)
    try:
        yield small, large, plain
    finally:
        for each in (small, large, plain):
            each.stop()


@pytest.fixture(scope="session")
def server(started: tuple[RunningServer, RunningServer, Plain]) -> RunningServer:
    return started[0].wait()


@pytest.fixture(scope="session")
def larger(started: tuple[RunningServer, RunningServer, Plain]) -> RunningServer:
    return started[1].wait()


@pytest.fixture(scope="session")
def plain(started: tuple[RunningServer, RunningServer, Plain]) -> Plain:
    return started[2]


@pytest.fixture(scope="session")
def served(server: RunningServer) -> Iterator[OpenAIEngine]:
    engine = OpenAIEngine(EndpointOptions(server.url, server.name, whole_s=600, first_byte_s=300))
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def local(folders: dict[str, Path], started: object) -> Iterator[object]:
    """A VllmEngine."""
    from adaptive_sd.engines.vllm.engine import VllmEngine

    os.environ.update(ON_CPU)
    engine = VllmEngine(folders[SMALL], options_of(SMALL))
    yield engine
    engine.close()
